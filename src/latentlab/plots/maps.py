"""Maps of the latent space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^v"
CELLS = 60
"""Of a density map, along each side."""


def plot_latent_map(
    target: Path,
    points: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    axis_names: Sequence[str],
    title: str,
    prior: bool = False,
) -> None:
    """Scatter points [N, 2] or [N, 3] by class; the legend stands outside and hides nothing.

    With `prior` the standard normal is drawn as circles of one, two and three deviations, which
    stand in the legend.
    """
    figure = new_figure(7, 5)
    if points.shape[1] == 3:
        axes = figure.add_subplot(projection="3d")
        axes.set_zlabel(axis_names[2])
    else:
        axes = figure.subplots()
    _scatter(axes, points, labels, classes)
    if prior:
        _draw_prior(axes)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    figure.legend(loc="outside right center", frameon=False, markerscale=2)
    save(figure, target)


def plot_panels(
    target: Path,
    maps: dict[str, tuple[np.ndarray, str]],
    labels: np.ndarray,
    classes: list[str],
    title: str,
) -> None:
    """Scatter several sets of points [N, 2] of the same images side by side, a panel for each.

    With the points stands what their two axes are called.
    """
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(3 * columns + 1.5, 2.9 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (name, (points, called)) in zip(grid.flat, maps.items(), strict=False):
        _scatter(axes, points, labels, classes)
        axes.set(title=name, xlabel=f"{called} 1", ylabel=f"{called} 2", xticks=[], yticks=[])
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, markerscale=2)
    figure.suptitle(title)
    save(figure, target)


def plot_density_maps(
    target: Path, sets: dict[str, np.ndarray], axis_names: Sequence[str], title: str
) -> None:
    """Draw how many points [N, 2] are where, a panel for each set, on the same axes."""
    from matplotlib.colors import LogNorm

    together = np.concatenate(list(sets.values()))
    limits = [tuple(np.percentile(together[:, axis], [0.2, 99.8])) for axis in range(2)]
    counts = {
        name: np.histogram2d(*points.T, bins=CELLS, range=limits)[0].T / len(points)
        for name, points in sets.items()
    }
    shown = [count[count > 0] for count in counts.values() if count.any()]
    norm = LogNorm(min(map(np.min, shown)), max(map(np.max, shown)))
    figure = new_figure(4 * len(sets) + 1.2, 3.8)
    grid = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for axes, (name, count) in zip(grid, counts.items(), strict=True):
        image = axes.imshow(
            np.ma.masked_equal(count, 0),
            origin="lower",
            extent=(*limits[0], *limits[1]),
            aspect="auto",
            cmap="viridis",
            norm=norm,
        )
        axes.set(xlabel=axis_names[0], title=f"{name}, {len(sets[name])} points")
    grid[0].set_ylabel(axis_names[1])
    figure.colorbar(image, ax=list(grid), label="share of the points in a cell")
    figure.suptitle(title)
    save(figure, target)


def plot_histograms(target: Path, sets: dict[str, np.ndarray], axis_name: str, title: str) -> None:
    """Draw how many of the points [N] of each set are where, in the same cells."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    cells = np.histogram_bin_edges(np.concatenate(list(sets.values())), CELLS)
    for number, (name, points) in enumerate(sets.items()):
        axes.hist(
            points,
            cells,
            weights=np.full(len(points), 1 / len(points)),
            histtype="step",
            color=PALETTE[number],
            label=f"{name}, {len(points)} points",
        )
    axes.set(xlabel=axis_name, ylabel="share of the points in a cell")
    figure.legend(loc="outside right center", frameon=False)
    figure.suptitle(title)  # longer than the axes are wide
    save(figure, target)


def _draw_prior(axes: Axes) -> None:
    angles = np.linspace(0, 2 * np.pi, 100)
    style = {"color": "0.5", "linewidth": 0.6}
    for deviations in (1, 2, 3):
        label = "prior: 1, 2, 3 deviations" if deviations == 1 else None
        circle = deviations * np.cos(angles), deviations * np.sin(angles)
        if axes.name == "3d":  # on the floor, in the middle
            axes.plot(*circle, 0.0, **style, label=label)
        else:
            axes.plot(*circle, **style, label=label)
            axes.set_aspect("equal", adjustable="datalim")


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    for index, name, style in _styles(classes):
        members = points[labels == index]
        axes.scatter(*members.T, s=7, linewidths=0, alpha=0.7, label=name, **style)


def _styles(classes: list[str]) -> Iterator[tuple[int, str, dict[str, str]]]:
    for index, name in enumerate(classes):
        marker = MARKERS[index // len(PALETTE) % len(MARKERS)]
        yield index, name, {"color": PALETTE[index % len(PALETTE)], "marker": marker}
