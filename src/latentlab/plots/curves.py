"""Curves: metrics against epochs, or against the value of a parameter."""

from pathlib import Path
from typing import Any

import numpy as np

from latentlab.plots.canvas import PALETTE, integer_ticks, legend_outside, new_figure, save

LINE_STYLES = ("-", "--", ":")


def plot_history(
    target: Path,
    history: list[dict[str, float]],
    columns: dict[str, str],
    ylabel: str,
    title: str,
    best_epoch: int | None = None,
) -> None:
    """Draw columns of a training history against the epoch.

    `columns` maps each column to its legend; epochs without a value are skipped. A dotted line
    marks `best_epoch`, the epoch whose weights are saved.
    """
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    for (column, legend), color in zip(columns.items(), PALETTE, strict=False):
        values = {record["epoch"]: record[column] for record in history if column in record}
        axes.plot(
            list(values), list(values.values()), color=color, label=legend, marker="o", markersize=3
        )
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best: epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    integer_ticks(axes)
    axes.grid(color="0.9")
    legend_outside(axes)
    save(figure, target)


def plot_overlaid(
    target: Path,
    histories: dict[str, list[dict[str, float]]],
    column: str,
    ylabel: str,
    title: str,
) -> None:
    """Draw one column of several histories against the epoch.

    Faint line: raw values; opaque line: running mean over a fifth of the epochs, at least three,
    ending at the one shown.
    """
    figure = new_figure(7, max(4, 1 + 0.25 * len(histories)))  # room for the legend
    axes = figure.subplots()
    for index, (name, history) in enumerate(histories.items()):
        epochs = [record["epoch"] for record in history]
        values = np.array([record[column] for record in history])
        style: dict[str, Any] = {
            "color": PALETTE[index % len(PALETTE)],
            "linestyle": LINE_STYLES[index // len(PALETTE) % len(LINE_STYLES)],
        }
        axes.plot(epochs, values, alpha=0.35, linewidth=1, **style)
        axes.plot(epochs, running_mean(values, max(3, len(values) // 5)), label=name, **style)
    axes.set(xlabel="epoch", ylabel=ylabel, title=title, yscale="log")
    integer_ticks(axes)
    axes.grid(color="0.9", which="both")
    legend_outside(axes, "running mean")
    save(figure, target)


def plot_against_value(
    target: Path, best: dict[float, list[float]], xlabel: str, ylabel: str, title: str
) -> None:
    """Draw the best metrics of trainings against the value of a parameter: points and means."""
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    values = sorted(best)
    for value in values:
        axes.plot([value] * len(best[value]), best[value], ".", color=PALETTE[0], alpha=0.5)
    axes.plot(values, [np.mean(best[value]) for value in values], color=PALETTE[0], marker="o")
    axes.set(xlabel=xlabel, ylabel=f"best {ylabel}", title=title)
    axes.grid(color="0.9")
    save(figure, target)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean [N] of each value [N] and those before it, at most `window` values."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means
