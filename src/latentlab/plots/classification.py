"""The confusion matrix."""

from pathlib import Path

import numpy as np

from latentlab.plots.canvas import new_figure, save


def plot_confusion(target: Path, counts: np.ndarray, classes: list[str], title: str) -> None:
    """Draw counts [actual, predicted] as shares of each actual class."""
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
            if share >= 0.005:
                colour = "white" if share > 0.5 else "black"
                text = f"{share:.2f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="share of the actual class", shrink=0.8)
    save(figure, target)
