"""What every picture shares: light background, colour-blind-safe colours, 150 dpi."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.common.files import atomic_path
from latentlab.common.processes import background_process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Painter = Callable[["Figure", Path], object]

DPI = 150

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#882255", "#999933", "#888888",
)  # fmt: skip
"""Okabe and Ito's eight, two of them replaced by darker ones of Tol's that read on white."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def save(figure: Figure, target: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    _painter.get()(figure, target)


@contextmanager
def draw_in_background() -> Iterator[None]:
    """Have another process paint what `save` gets; all of it is written when the block ends.

    To make a figure takes a moment, to lay it out and paint it half a second. What goes wrong is
    raised at the end.
    """
    with background_process() as executor:
        painted = []
        token = _painter.set(lambda *work: painted.append(executor.submit(_paint, *work)))
        try:
            yield
        finally:
            _painter.reset(token)
        for each in painted:
            each.result()


def _paint(figure: Figure, target: Path) -> None:
    with atomic_path(target) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


_painter: ContextVar[Painter] = ContextVar("painter", default=_paint)
