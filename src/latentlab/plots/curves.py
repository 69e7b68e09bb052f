"""Curves over epochs."""

from pathlib import Path

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save


def plot_history(
    target: Path,
    history: list[dict[str, float]],
    columns: dict[str, str],
    ylabel: str,
    title: str,
    best_epoch: int | None = None,
) -> None:
    """Draw columns of a training history against the epoch.

    `columns` maps a column to its legend; an epoch may lack some. `best_epoch` is marked where
    there is one.
    """
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    for (column, legend), colour in zip(columns.items(), PALETTE, strict=False):
        known = {record["epoch"]: record[column] for record in history if column in record}
        line = {"color": colour, "label": legend, "marker": "o", "markersize": 3}
        axes.plot(list(known), list(known.values()), **line)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"kept: epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)


LINES = ("-", "--", ":")


def plot_overlaid(
    target: Path,
    histories: dict[str, list[dict[str, float]]],
    column: str,
    ylabel: str,
    title: str,
) -> None:
    """Draw a column of several histories against the epoch: faint as it is, strong as its mean.

    The running mean is over a fifth of the epochs, at least three, ending at the one shown.
    """
    figure = new_figure(7, max(4, 1 + 0.25 * len(histories)))  # room for the legend
    axes = figure.subplots()
    for index, (name, history) in enumerate(histories.items()):
        epochs = [record["epoch"] for record in history]
        values = np.array([record[column] for record in history])
        style = {
            "color": PALETTE[index % len(PALETTE)],
            "linestyle": LINES[index // len(PALETTE) % len(LINES)],
        }
        axes.plot(epochs, values, alpha=0.35, linewidth=1, **style)
        axes.plot(epochs, running_mean(values, max(3, len(values) // 5)), label=name, **style)
    axes.set(xlabel="epoch", ylabel=ylabel, title=title, yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9", which="both")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title="running mean")
    save(figure, target)


def plot_against_value(
    target: Path, best: dict[float, float], xlabel: str, ylabel: str, title: str
) -> None:
    """Draw the best loss reached with each value."""
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    values = sorted(best)
    axes.plot(values, [best[value] for value in values], color=PALETTE[0], marker="o")
    axes.set(xlabel=xlabel, ylabel=f"best {ylabel}", title=title)
    axes.grid(color="0.9")
    save(figure, target)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of each value and those before it, `window` at most [N]."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
