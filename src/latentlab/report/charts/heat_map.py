"""Heat maps of shares, such as confusion matrices."""

from collections.abc import Sequence

from markupsafe import Markup

from latentlab.report.charts.svg import WIDTH, element, shorten, svg, text, text_width

MIN_CELL = 26
MAX_LABEL = 110
WRITTEN = 0.005
"""Smallest share that is written into its cell."""


def heat_map(
    shares: Sequence[Sequence[float]], names: Sequence[str], row_axis: str, column_axis: str
) -> Markup:
    """Return a square map with rows and columns of the same names; shares are percentages in it."""
    count = len(names)
    labels = [shorten(name, MAX_LABEL) for name in names]
    left = max(map(text_width, labels)) + 28
    cell = max(MIN_CELL, (WIDTH - left) / count)
    top = left - 10
    parts = []
    for row, label in enumerate(labels):
        middle = (row + 0.5) * cell
        parts += [
            text(label, left - 8, top + middle + 4, "tick end"),
            text(
                label, 0, 0, "tick",
                transform=f"translate({left + middle + 4:.1f} {top - 8:.1f}) rotate(-90)",
            ),
        ]  # fmt: skip
        parts += [
            _cell(share, left + column * cell, top + row * cell, cell, row == column)
            for column, share in enumerate(shares[row])
        ]
    width, height = left + count * cell, top + count * cell
    middle = top + count * cell / 2
    parts += [
        text(
            row_axis, 0, 0, "label middle",
            transform=f"translate(12 {middle:.1f}) rotate(-90)",
        ),
        text(column_axis, left + count * cell / 2, height + 20, "label middle"),
    ]  # fmt: skip
    return svg(width + 1, height + 26, *parts)


def _cell(share: float, left: float, top: float, size: float, diagonal: bool) -> Markup:
    css = "heat" if diagonal else "heat error"
    square = element(
        "rect", x=left, y=top, width=size - 1, height=size - 1, class_=css,
        fill_opacity=round(share**0.6, 3),
    )  # fmt: skip
    if share < WRITTEN:
        return square
    strong = "on-heat" if share**0.6 > 0.6 else ""
    at = left + size / 2 - 0.5, top + size / 2 + 4
    return square + text(f"{share * 100:.0f}", *at, f"cell middle {strong}".strip())
