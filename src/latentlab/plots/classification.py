"""Plots of classifiers: label efficiency, misclassified images and confusion matrices."""

from pathlib import Path

import numpy as np
from torch import Tensor

from latentlab.plots.canvas import PALETTE, legend_outside, new_figure, save
from latentlab.plots.images import image_strip
from latentlab.plots.labels import class_labels

MAX_LABELED = 50
"""Classes that a confusion matrix names all, and whose cells it fills with text."""


def plot_label_efficiency(
    target: Path, curves: dict[str, dict[int, tuple[float, float]]], title: str
) -> None:
    """Draw the validation accuracy of each method against the number of labels per class.

    `curves` maps the name of a method to mean and standard deviation for each number of labels.
    """
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    for color, (method, points) in zip(PALETTE, curves.items(), strict=False):
        means, deviations = zip(*points.values(), strict=True)
        axes.errorbar(
            list(points), means, deviations, color=color, marker="o", capsize=3, label=method
        )
    axes.set(xlabel="labels per class", ylabel="validation accuracy", title=title)
    axes.set_xscale("log")
    counts = sorted({count for points in curves.values() for count in points})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.grid(color="0.9")
    legend_outside(axes, "error bars:\n1 standard deviation")
    save(figure, target)


def plot_errors(
    target: Path, images: Tensor, captions: list[str], columns: int, title: str
) -> None:
    """Draw misclassified images [N, C, S, S] in a grid, each with its caption."""
    rows = max(1, -(-len(images) // columns))
    figure = new_figure(1.5 * columns, 1.7 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(image_strip(image[None]), interpolation="nearest")
        axes.set_title(caption, fontsize=7)
    figure.suptitle(title)
    save(figure, target)


def plot_confusion(
    target: Path, counts: np.ndarray, classes: list[str], title: str, as_shares: bool = True
) -> None:
    """Draw a confusion matrix [actual, predicted], colored by the share of the actual class.

    The text in each cell is that share, or the count if `as_shares` is false. The figure of more
    than `MAX_LABELED` classes does not grow: it names some classes, and its cells have no text.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.4 + 0.48 * min(len(classes), MAX_LABELED)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    every = -(-len(classes) // MAX_LABELED)
    ticks, labels = range(0, len(classes), every), class_labels(classes)[::every]
    axes.set_xticks(ticks, labels, rotation=45, ha="right")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted class", ylabel="actual class", title=title)
    cells = np.ndindex(counts.shape) if every == 1 else ()
    for row, column in cells:
        share = shares[row, column]
        text = f"{share:.2f}" if as_shares else str(counts[row, column])
        if text not in ("0.00", "0"):
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    figure.colorbar(image, label="share of the actual class", shrink=0.8)
    save(figure, target)
