"""What every picture shares: light background, colour-blind-safe colours, 150 dpi."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    with atomic_path(target) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
