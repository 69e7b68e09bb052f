"""Common settings of all plots: white background, color-blind safe colors, 150 dpi."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.common.files import atomic_path
from latentlab.common.processes import background_process
from latentlab.plots.labels import use_fonts

if TYPE_CHECKING:
    from concurrent.futures import Future

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Writer = Callable[[Figure, Path], None]

DPI = 150

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#882255", "#999933", "#888888",
)  # fmt: skip
"""Colors of Okabe and Ito without their yellow, two of Paul Tol's muted colors, and a gray."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches; it does not need a display."""
    from matplotlib.figure import Figure

    use_fonts()
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def legend_outside(axes: Axes, title: str | None = None) -> None:
    """Draw the legend to the right of the axes, where it hides no data."""
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title=title)


def integer_ticks(axes: Axes) -> None:
    """Put the ticks of the x axis at integers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def save(figure: Figure, target: Path) -> None:
    """Write a figure as PNG; equal figures give equal bytes."""
    _writer.get()(figure, target)


@contextmanager
def draw_in_background() -> Iterator[None]:
    """Write the figures passed to `save` in another process, until the block ends.

    Creating a figure takes milliseconds; its layout and rendering take half a second. All files
    exist when the block ends; errors of the other process are raised there.
    """
    with background_process() as executor:
        pending: list[Future[None]] = []

        def submit(figure: Figure, target: Path) -> None:
            pending.append(executor.submit(_write, figure, target))

        token = _writer.set(submit)
        try:
            yield
        finally:
            _writer.reset(token)
        for future in pending:
            future.result()


def _write(figure: Figure, target: Path) -> None:
    use_fonts()  # in a background process, too: it creates the texts of ticks
    with atomic_path(target) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


_writer: ContextVar[Writer] = ContextVar("writer", default=_write)
