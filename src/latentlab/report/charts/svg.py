"""SVG elements, and the frame of a chart: plot area, scales, ticks and axis labels.

Hand-written because a page without network and scripts needs static charts, and those of Matplotlib
have fixed colors and contain text as outlines. Colors and fonts come from the style sheet, so that
charts follow dark mode.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from latentlab.report.text import axis_number

WIDTH = 400
"""Width of a chart in units; narrow, so that its text is readable on a phone."""
COLORS = 10
"""Number of classes `c0`, `c1`, ... in the style sheet that set a color."""
FONT = 13
CHARACTER = 0.54
"""Mean width of a character relative to the font size."""
TARGET_TICKS = 5


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an element; text and attributes are escaped, and `_` in their names becomes `-`."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _value(value))
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inner)


def text(content: str, x: float, y: float, css: str = "", **attributes: object) -> Markup:
    """Return a text element at a position."""
    return element("text", content, x=x, y=y, class_=css or None, **attributes)


def shorten(content: str, width: float) -> str:
    """Return the beginning of a text that fits into a width."""
    if text_width(content) <= width:
        return content
    while content and text_width(content) > width - FONT:
        content = content[:-1]
    return content.rstrip() + "…"


def text_width(content: str) -> float:
    """Return the estimated width of a text; characters of East Asian scripts are wider."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in content)
    return FONT * (CHARACTER * (len(content) - wide) + wide)


@dataclass(frozen=True)
class Axis:
    """An axis: its label, and how its values are scaled and written.

    `low` and `high` extend the range of the values.
    """

    label: str
    log: bool = False
    integer: bool = False
    percent: bool = False
    low: float | None = None
    high: float | None = None

    def ticks(self, values: Iterable[float]) -> list[float]:
        """Return round numbers that cover the values."""
        shown = [*values, *(end for end in (self.low, self.high) if end is not None)]
        lowest, highest = min(shown), max(shown)
        if self.log:
            return _log_ticks(lowest, highest)
        return _linear_ticks(lowest, highest, self.integer)

    def write(self, value: float) -> str:
        """Return the text of a tick."""
        return f"{value:.0%}" if self.percent else axis_number(value)


@dataclass(frozen=True)
class Scale:
    """A mapping of values to positions from `start` to `end`."""

    axis: Axis
    ticks: Sequence[float]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.axis.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def svg(width: float, height: float, *children: str) -> Markup:
    """Return a chart; it is hidden from screen readers, for which its figure has a text."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        xmlns="http://www.w3.org/2000/svg",
        aria_hidden="true",
        focusable="false",
    )


def axes(x: Scale, y: Scale) -> Markup:
    """Return grid lines, ticks and labels of both axes."""
    parts = []
    for value in y.ticks:
        at = y(value)
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        parts.append(text(y.axis.write(value), x.start - 6, at + 4, "tick end"))
    spacing = 0.0
    for value in x.ticks:
        at, written = x(value), x.axis.write(value)
        if at - text_width(written) / 2 < spacing:
            continue  # it would overlap the previous one
        spacing = at + text_width(written) / 2 + 4
        parts.append(element("line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(text(written, at, y.start + 18, "tick middle"))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    parts.append(text(x.axis.label, (x.start + x.end) / 2, y.start + 36, "label middle"))
    parts.append(text(y.axis.label, 0, y.end - 12, "label"))
    return Markup("").join(parts)


def _value(value: object) -> str:
    """Return an attribute; numbers have at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _linear_ticks(low: float, high: float, integer: bool) -> list[float]:
    step = _nice_step((high - low) / TARGET_TICKS if high > low else abs(high) or 1.0)
    if integer:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if integer:  # an axis of counts need not end at a round number
        last = max(math.floor(high / step + 1e-9), first + 1)
        if last * step < high:
            return [*(tick * step for tick in range(first, last + 1)), high]
    return [tick * step for tick in range(first, max(last, first + 1) + 1)]


def _nice_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= step * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return ticks at 1, 2 and 5 times powers of ten, or at every power if there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    candidates = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below = max((tick for tick in candidates if tick <= low * 1.0001), default=candidates[0])
    above = min((tick for tick in candidates if tick >= high * 0.9999), default=candidates[-1])
    return [tick for tick in candidates if below <= tick <= above] or [low, high]
