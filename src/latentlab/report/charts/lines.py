"""Charts of points: curves, and scatter plots."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from latentlab.report.charts.svg import (
    COLORS,
    FONT,
    WIDTH,
    Axis,
    Scale,
    axes,
    element,
    shorten,
    svg,
    text,
    text_width,
)

LEFT, RIGHT, BOTTOM = 52, 12, 44
PLOT_HEIGHT = 210
ROW = 20
MAX_MARKERS = 24
"""Points of a curve up to which each has a marker."""


@dataclass(frozen=True)
class Series:
    """Points (x, y) of one color, sorted by x; `line` connects them."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    line: bool = True
    dashed: bool = False
    marker: bool = True


def chart(series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """Return a chart of all series on the same axes, with a legend if there are several."""
    shown = [each for each in series if each.points]
    legend, top = _legend(shown) if len(shown) > 1 else (Markup(""), 0)
    top += 26
    points = [point for each in shown for point in each.points]
    horizontal = Scale(x, x.ticks(point[0] for point in points), LEFT, WIDTH - RIGHT)
    vertical = Scale(y, y.ticks(point[1] for point in points), top + PLOT_HEIGHT, top)
    drawn = [_draw(each, horizontal, vertical) for each in shown]
    height = top + PLOT_HEIGHT + BOTTOM
    return svg(WIDTH, height, legend, axes(horizontal, vertical), *drawn)


def _draw(series: Series, x: Scale, y: Scale) -> Markup:
    css = f"c{series.color % COLORS}"
    at = [(x(point[0]), y(point[1])) for point in series.points]
    parts = []
    if series.line and len(at) > 1:
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in at)
        dashes = "5 4" if series.dashed else None
        parts.append(
            element("polyline", points=path, class_=f"curve {css}", stroke_dasharray=dashes)
        )
    if series.marker and (len(at) <= MAX_MARKERS or not series.line):
        parts += [
            element("circle", cx=left, cy=top, r=3.2, class_=f"point {css}") for left, top in at
        ]
    return Markup("").join(parts)


def _legend(series: Sequence[Series]) -> tuple[Markup, float]:
    """Return the legend in as many rows as it needs, and its height."""
    parts, left, top = [], 0.0, FONT
    for each in series:
        name = shorten(each.name, WIDTH - 40)
        width = 26 + text_width(name) + 16
        if left and left + width > WIDTH:
            left, top = 0.0, top + ROW
        css = f"c{each.color % COLORS}"
        if each.line:
            dashes = "5 4" if each.dashed else None
            parts.append(
                element(
                    "line", x1=left, x2=left + 18, y1=top - 4, y2=top - 4,
                    class_=f"curve {css}", stroke_dasharray=dashes,
                )
            )  # fmt: skip
        else:
            parts.append(element("circle", cx=left + 9, cy=top - 4, r=4, class_=f"point {css}"))
        parts.append(text(name, left + 24, top, "tick"))
        left += width
    return Markup("").join(parts), top + 10
