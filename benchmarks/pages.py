"""Sections of documentation pages that are written from results."""

from pathlib import Path

from latentlab.common.files import write_text

START, END = "<!-- written by benchmarks/table.py -->\n", "<!-- end -->\n"


def replace_section(page: Path, section: str) -> None:
    """Replace what is between the two marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(START)
    write_text(page, before + START + section + END + rest.split(END)[1])
