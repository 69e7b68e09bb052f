"""What a report consists of, independent of its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A chart or a picture with a title and a sentence about what it shows.

    Either `chart` is an SVG element, or `picture` is a PNG file. `wide` figures take the whole
    width of the page; charts wider than that are scrolled.
    """

    title: str
    sentence: str
    chart: Markup | None = None
    picture: Path | None = None
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a title and a sentence; all columns but the first `texts` contain numbers.

    `marks` maps the index of a row to `better`, `worse` or `best`, which the page highlights. With
    `folded`, the page shows the table only on demand.
    """

    title: str
    sentence: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    marks: Mapping[int, str] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A section: its title, paragraphs of text, commands to type, figures and tables, in order."""

    title: str
    paragraphs: Sequence[str] = ()
    blocks: Sequence[Figure | Table] = ()
    commands: Sequence[str] = ()

    @property
    def id(self) -> str:
        """The name of the section in links."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class Report:
    """The report: its title, its findings in a few sentences, and its sections."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
