"""The confusion matrix."""

from pathlib import Path

import numpy as np
from torch import Tensor

from latentlab.plots.canvas import PALETTE, new_figure, save
from latentlab.plots.images import side_by_side


def plot_label_budgets(
    target: Path, curves: dict[str, dict[int, tuple[float, float]]], title: str
) -> None:
    """Draw mean and standard deviation of accuracies against the labels of each class."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    for colour, (name, points) in zip(PALETTE, curves.items(), strict=False):
        means, deviations = zip(*points.values(), strict=True)
        axes.errorbar(
            list(points), means, deviations, color=colour, marker="o", capsize=3, label=name
        )
    axes.set(xlabel="labels of each class", ylabel="validation accuracy", title=title)
    axes.set_xscale("log")
    budgets = sorted({budget for points in curves.values() for budget in points})
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.grid(color="0.9")
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title="bars: one\ndeviation"
    )
    save(figure, target)


def plot_mistakes(
    target: Path, images: Tensor, captions: list[str], columns: int, title: str
) -> None:
    """Draw images [N, C, S, S], each under what it is and what it was taken for."""
    rows = max(1, -(-len(images) // columns))
    figure = new_figure(1.5 * columns, 1.7 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(side_by_side(image[None]), interpolation="nearest")
        axes.set_title(caption, fontsize=7)
    figure.suptitle(title)
    save(figure, target)


def plot_confusion(
    target: Path, counts: np.ndarray, classes: list[str], title: str, as_shares: bool = True
) -> None:
    """Draw counts [actual, predicted], as they are or as shares of each actual class."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.4 + 0.48 * len(classes)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="actual", title=title)
    for row in ticks:
        for column in ticks:
            share = shares[row, column]
            text = f"{share:.2f}" if as_shares else str(counts[row, column])
            if text not in ("0.00", "0"):
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="share of the actual class", shrink=0.8)
    save(figure, target)
