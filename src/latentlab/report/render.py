"""Rendering a report as one HTML file, and as Markdown."""

import base64
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.report.document import Report

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def as_html(report: Report) -> str:
    """Return the report as one HTML file, with its pictures and without scripts."""
    page = _environment(escape=True).get_template("index.html")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return page.render(report=report, style=style)


def as_markdown(report: Report, folder: Path) -> str:
    """Return the report as Markdown for a file in `folder`, with links to the pictures."""
    environment = _environment(escape=False)
    environment.filters["link"] = lambda picture: _relative(picture, folder)
    return environment.get_template("report.md").render(report=report)


def as_description(report: Report) -> str:
    """Return the summary of the report and its first table as Markdown."""
    page = _environment(escape=False).get_template("description.md")
    return page.render(report=report, table=report.sections[0].blocks[0])


def escape_markdown(text: str) -> str:
    """Return text in which no character has a meaning in Markdown or HTML."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def picture_size(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG file in pixels."""
    with picture.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width, height


def data_uri(picture: Path) -> str:
    """Return the content of a PNG file as an address."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _environment(escape: bool) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escape_markdown, "data_uri": data_uri, "size": picture_size}
    return environment


def _relative(picture: Path, folder: Path) -> str:
    return Path(os.path.relpath(picture, folder)).as_posix()
