"""Maps of the latent space."""

from pathlib import Path

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save

MARKERS = "osD^v"


def plot_latent_map(
    target: Path,
    points: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    axis_names: tuple[str, str],
    title: str,
) -> None:
    """Scatter points [N, 2] by class; the legend stands outside and hides nothing."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    for index, name in enumerate(classes):
        members = points[labels == index]
        axes.scatter(
            members[:, 0],
            members[:, 1],
            s=7,
            linewidths=0,
            alpha=0.7,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index // len(PALETTE) % len(MARKERS)],
            label=name,
        )
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2)
    save(figure, target)
