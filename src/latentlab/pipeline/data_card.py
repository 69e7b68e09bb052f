"""The data card: what a dataset contains, as a Markdown file."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from latentlab.common.files import write_text
from latentlab.data.duplicates import DuplicateReport
from latentlab.data.image_set import DatasetInfo
from latentlab.data.sources import RawDataset, SourceFacts

MAX_CONFLICTS = 20
"""Label conflicts that are listed by name."""


def write_data_card(
    target: Path,
    info: DatasetInfo,
    raw: RawDataset,
    labels: Mapping[str, np.ndarray],
    duplicates: DuplicateReport,
    picture: str,
) -> None:
    """Write the card of a dataset whose splits have these `labels`.

    `picture` is the path of a plot of sample images, relative to the card.
    """
    size, height = sum(info.sizes.values()), info.image_shape[-1]
    colors = "gray" if info.image_shape[0] == 1 else "RGB"
    facts = {
        "source": raw.facts.source or "unknown",
        "license": raw.facts.license or "unknown",
        "images": f"{size:,}, {height}x{height} pixels, {colors}",
        "classes": str(len(info.classes) or "none: the images have no labels"),
    } | _file_facts(raw.facts)
    names = info.classes or ["all images"]
    counts = {split: np.bincount(each, minlength=len(names)) for split, each in labels.items()}
    classes = [
        [str(number), name, *(f"{count[number]:,}" for count in counts.values())]
        for number, name in enumerate(names)
    ]
    total = ["", "all classes", *(f"{count.sum():,}" for count in counts.values())]
    pixels = [
        [str(channel), f"{mean:.4f}", f"{std:.4f}"]
        for channel, (mean, std) in enumerate(zip(info.mean, info.std, strict=True))
    ]
    sections = [
        f"# Data card: {_escape(info.name)}",
        _table(["property", "value"], facts.items()),
        "## Images by class and split",
        _table(["number", "class", *counts], [*classes, *([total] if info.classes else [])]),
        "## Pixels of the training split",
        "Between 0 and 1.",
        _table(["channel", "mean", "standard deviation"], pixels),
        "## Duplicates",
        "\n".join(_duplicates(raw, duplicates)),
        "## Samples",
        f"![Training images]({picture})",
    ]
    write_text(target, "\n\n".join(sections) + "\n")


def _file_facts(facts: SourceFacts) -> dict[str, str]:
    """Return what is known about the original files."""
    rows = {}
    for name, original in (("smallest image", facts.smallest), ("largest image", facts.largest)):
        if original:
            rows[name] = f"{original[0]}x{original[1]} pixels"
    if facts.ignored:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in facts.ignored.items())
        rows["ignored files"] = f"{sum(facts.ignored.values()):,} ({reasons})"
    return rows


def _duplicates(raw: RawDataset, found: DuplicateReport) -> Iterable[str]:
    """Yield lines of Markdown about the duplicates and what was done with them."""
    yield f"- Images equal to an earlier one, after resizing: {found.equal:,}"
    if raw.published:
        yield "- Near duplicates were not looked for, because the splits of this dataset are kept."
        yield f"- Groups of equal images in several splits: {found.across:,}. All images are kept."
    else:
        yield f"- Images nearly equal to an earlier one: {found.similar:,}"
        yield (
            f"- All duplicates of an image are in one split; {found.left_out:,} images were left "
            "out, because another split that was given contains them."
        )
    yield f"- Groups of duplicates with different labels: {len(found.conflicts):,}"
    for group in found.conflicts[:MAX_CONFLICTS]:
        yield "  - " + ", ".join(_image_name(raw, row) for row in group)
    if (others := len(found.conflicts) - MAX_CONFLICTS) > 0:
        yield f"  - and {others:,} others"


def _image_name(raw: RawDataset, row: int) -> str:
    """Return the name and class of an image numbered through all splits."""
    for split, (_, labels) in raw.splits.items():
        if row < len(labels):
            name = raw.facts.names[split][row] if raw.facts.names else f"{split} {row}"
            return f"{_escape(name)} ({_escape(raw.classes[labels[row]])})"
        row -= len(labels)
    raise IndexError(row)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [[_escape(cell) for cell in row] for row in (header, *rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _escape(text: str) -> str:
    """Return text in one line that Markdown shows as it is."""
    line = " ".join(text.encode(errors="backslashreplace").decode().split())
    return re.sub(r"([\\`*_{}\[\]<>|#$~])", r"\\\1", line)
