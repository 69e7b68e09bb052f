"""Horizontal bar charts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from latentlab.report.charts.svg import COLORS, WIDTH, element, shorten, svg, text, text_width
from latentlab.report.text import number

ROW, BAR = 24, 15
MAX_LABEL = 240


@dataclass(frozen=True)
class Bar:
    """A bar: its name and value, which is not negative; a muted bar is a baseline."""

    name: str
    value: float
    muted: bool = False


def bar_chart(
    bars: Sequence[Bar], write: Callable[[float], str] = number, color: int = 0
) -> Markup:
    """Return one row per bar, with its value at its end; `write` formats the values."""
    names = [shorten(bar.name, MAX_LABEL) for bar in bars]
    left = max(map(text_width, names)) + 10
    values = [write(bar.value) for bar in bars]
    length = WIDTH - left - max(map(text_width, values)) - 10
    longest = max(bar.value for bar in bars) or 1
    parts = []
    for row, (bar, name, value) in enumerate(zip(bars, names, values, strict=True)):
        top, width = row * ROW + 4, max(bar.value / longest * length, 1)
        css = "muted" if bar.muted else f"c{color % COLORS}"
        parts += [
            text(name, left - 8, top + 12, "tick end"),
            element("rect", x=left, y=top, width=width, height=BAR, rx=2, class_=f"bar {css}"),
            text(value, left + width + 6, top + 12, "tick"),
        ]
    return svg(WIDTH, len(bars) * ROW + 6, *parts)
