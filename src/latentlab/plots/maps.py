"""Maps of a latent space: scatter plots by class, and densities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save
from latentlab.plots.labels import class_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^v"
DENSITY_CELLS = 60
"""Cells of a density map along each axis."""


def plot_latent_map(
    target: Path,
    points: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    axis_names: Sequence[str],
    title: str,
    prior: bool = False,
    log_density: np.ndarray | None = None,
) -> None:
    """Draw points [N, 2] or [N, 3] in the colors of their classes or clusters [N].

    `prior` adds circles at one, two and three standard deviations of a standard normal
    distribution. `log_density` [N] adds a second map, which it colors.
    """
    panels = 1 if log_density is None else 2
    figure = new_figure(7 if panels == 1 else 11, 5)
    projection = "3d" if points.shape[1] == 3 else None
    grid: list[Any] = [
        figure.add_subplot(1, panels, number + 1, projection=projection) for number in range(panels)
    ]
    for axes in grid:
        axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
        if projection:
            axes.set_zlabel(axis_names[2])
    _scatter(grid[0], points, labels, classes)
    if prior:
        _draw_prior(grid[0])
    if log_density is None:
        grid[0].set_title(title)
        figure.legend(loc="outside right center", frameon=False, markerscale=2)
    else:
        figure.suptitle(title)  # a title of the axes would be as wide as one panel
        figure.legend(loc="outside left center", frameon=False, markerscale=2)
        _scatter_density(figure, grid[1], points, log_density)
    save(figure, target)


def plot_panels(
    target: Path,
    maps: dict[str, tuple[np.ndarray, str]],
    labels: np.ndarray,
    classes: list[str],
    title: str,
) -> None:
    """Draw several maps of the same images side by side.

    `maps` maps each panel title to (points [N, 2], axis name).
    """
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(3 * columns + 1.5, 2.9 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (panel_title, (points, axis_name)) in zip(grid.flat, maps.items(), strict=False):
        _scatter(axes, points, labels, classes)
        axes.set(title=panel_title, xticks=[], yticks=[])
        axes.set(xlabel=f"{axis_name} 1", ylabel=f"{axis_name} 2")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, markerscale=2)
    figure.suptitle(title)
    save(figure, target)


def plot_density_maps(
    target: Path, sets: dict[str, np.ndarray], axis_names: Sequence[str], title: str
) -> None:
    """Draw two-dimensional histograms of sets of points [N, 2], one panel for each set."""
    from matplotlib.colors import LogNorm

    together = np.concatenate(list(sets.values()))
    x_limits, y_limits = (
        np.percentile(together[:, axis], [0.2, 99.8]).tolist() for axis in range(2)
    )
    shares = {
        name: np.histogram2d(
            points[:, 0], points[:, 1], bins=DENSITY_CELLS, range=[x_limits, y_limits]
        )[0].T
        / len(points)
        for name, points in sets.items()
    }
    present = [share[share > 0] for share in shares.values() if share.any()]
    norm = LogNorm(min(map(np.min, present)), max(map(np.max, present)))
    figure = new_figure(4 * len(sets) + 1.2, 3.8)
    grid = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for axes, (name, share) in zip(grid, shares.items(), strict=True):
        image = axes.imshow(
            np.ma.masked_equal(share, 0),
            origin="lower",
            extent=(*x_limits, *y_limits),
            aspect="auto",
            cmap="viridis",
            norm=norm,
        )
        axes.set(xlabel=axis_names[0], title=f"{name} ({len(sets[name]):,} points)")
    grid[0].set_ylabel(axis_names[1])
    figure.colorbar(image, ax=list(grid), label="share of the points per cell")
    figure.suptitle(title)
    save(figure, target)


def plot_histograms(target: Path, sets: dict[str, np.ndarray], axis_name: str, title: str) -> None:
    """Draw histograms of sets of values [N] on the same axes."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate(list(sets.values())), DENSITY_CELLS)
    for color, (name, points) in zip(PALETTE, sets.items(), strict=False):
        axes.hist(
            points,
            edges,  # type: ignore[arg-type]  # Matplotlib accepts an array of edges
            weights=np.full(len(points), 1 / len(points)),
            histtype="step",
            color=color,
            label=f"{name} ({len(points):,} points)",
        )
    axes.set(xlabel=axis_name, ylabel="share of the points per cell")
    figure.legend(loc="outside right center", frameon=False)
    figure.suptitle(title)  # a title of the axes would be cut off
    save(figure, target)


def _draw_prior(axes: Axes) -> None:
    angles = np.linspace(0, 2 * np.pi, 100)
    style: dict[str, Any] = {"color": "0.5", "linewidth": 0.6}
    for deviations in (1, 2, 3):
        if deviations == 1:
            style["label"] = "prior: 1, 2, 3\nstandard deviations"
        else:
            style.pop("label", None)
        circle = deviations * np.cos(angles), deviations * np.sin(angles)
        if axes.name == "3d":  # in the plane z = 0
            axes.plot(*circle, np.zeros_like(angles), **style)
        else:
            axes.plot(*circle, **style)
            axes.set_aspect("equal", adjustable="datalim")


def _scatter_density(figure: Any, axes: Any, points: np.ndarray, log_density: np.ndarray) -> None:
    """Draw points [N, D] in the colors of their log-density, the densest on top."""
    order = np.argsort(log_density, kind="stable")
    low, high = np.percentile(log_density, [1, 99])  # single outliers would take most colors
    drawn = axes.scatter(
        *points[order].T,
        s=7,
        linewidths=0,
        c=log_density[order],
        cmap="viridis",
        vmin=low,
        vmax=high,
    )
    pad = 0.15 if points.shape[1] == 3 else 0.03  # the z axis has its label outside of the axes
    figure.colorbar(drawn, ax=axes, pad=pad, label="log-density of the latent code (nats)")


def _scatter(axes: Any, points: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Draw points [N, D] with one color and marker for each class, on axes of D dimensions."""
    for index, label in enumerate(class_labels(classes)):
        axes.scatter(
            *points[labels == index].T,
            s=7,
            linewidths=0,
            alpha=0.7,
            label=label,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index // len(PALETTE) % len(MARKERS)],
        )
