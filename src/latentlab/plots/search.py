"""Plots of the trials of a study.

`optuna.visualization.matplotlib` is not used, mainly because most of its plots leave out pruned
trials, which are most trials of a study with successive halving. The docstrings give the reason for
each plot.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentlab.plots.canvas import PALETTE, integer_ticks, legend_outside, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentlab.search.trial import Trial

STYLES = {"complete": (PALETTE[0], "o"), "pruned": (PALETTE[9], "x"), "failed": (PALETTE[1], "v")}
"""Color and marker of trials by state."""
LABELS = {
    "validation/loss": "validation loss",
    "validation/mse": "validation MSE",
    "validation/accuracy": "validation accuracy",
    "operations": "operations per image",
    "latency": "latency per image (ms)",
}
"""Axis labels of objectives, if they differ from the name."""
COLUMNS = 4


def plot_trials(
    target: Path, trials: Sequence[Trial], objective: str, best: Sequence[Trial | None]
) -> None:
    """Plot the result of each trial by number, and the result of the best trial so far.

    Optuna's optimization history leaves out pruned trials.
    """
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    for state, (color, marker) in STYLES.items():
        members = [trial for trial in trials if trial.state == state and trial.results]
        if members:
            numbers = [trial.number for trial in members]
            results = [trial.results[0] for trial in members]
            axes.scatter(numbers, results, color=color, marker=marker, label=state, zorder=3)
    so_far = [math.nan if trial is None else trial.results[0] for trial in best]
    axes.step(range(len(best)), so_far, where="post", color=PALETTE[1], label="best so far")
    _log_scale_if_positive(axes, [trial.results[0] for trial in trials if trial.results])
    axes.set(xlabel="trial", ylabel=_label(objective), title="Results of all trials")
    integer_ticks(axes)
    axes.grid(color="0.9")
    legend_outside(axes)
    save(figure, target)


def plot_learning_curves(target: Path, trials: Sequence[Trial], metric: str, best: Trial) -> None:
    """Plot a metric of each trial by epoch; a cross marks the last epoch of a pruned trial.

    Optuna's plot of intermediate values would show one value per rung instead of one per epoch.
    """
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    others = [trial for trial in trials if trial.history and trial is not best]
    for trial in [*others, best]:
        epochs = [record["epoch"] for record in trial.history]
        values = [record[metric] for record in trial.history]
        style: dict[str, Any] = {"color": STYLES[trial.state][0], "alpha": 0.5, "linewidth": 1.0}
        if trial is best:
            style = {"color": PALETTE[1], "linewidth": 2.0, "label": f"best: trial {best.number}"}
        axes.plot(epochs, values, **style)
        if trial.state == "pruned":
            axes.plot(epochs[-1:], values[-1:], color=PALETTE[9], marker="x")
    for state in ("complete", "pruned"):
        color, marker = STYLES[state]
        axes.plot([], [], color=color, marker=marker if state == "pruned" else "", label=state)
    _log_scale_if_positive(axes, [record[metric] for trial in others for record in trial.history])
    axes.set(xlabel="epoch", ylabel=_label(metric), title="Learning curves of all trials")
    integer_ticks(axes)
    axes.grid(color="0.9")
    legend_outside(axes)
    save(figure, target)


def plot_importances(
    target: Path, importances: dict[str, float], objective: str, epochs: int
) -> None:
    """Plot the importance of each range for the objective after a number of epochs.

    `importances` are those of `search.importance`. Optuna's plot computes its own from complete
    trials only, and can assign importance to a range in which all trials have the same value.
    """
    figure = new_figure(6.5, 1.2 + 0.3 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color=PALETTE[0])
    after = f"after {epochs} epoch{'s' if epochs > 1 else ''}"
    axes.set(
        xlabel="importance (PED-ANOVA)",
        title=f"Parameter importance for {_label(objective)} {after}",
    )
    axes.grid(color="0.9", axis="x")
    axes.set_axisbelow(True)
    save(figure, target)


def plot_slices(target: Path, trials: Sequence[Trial], objective: str) -> None:
    """Plot the objective of each trial by the value of each parameter, one panel per range.

    Optuna's slice plot leaves out pruned trials, and its tick labels can overlap.
    """
    names = _param_names(trials)
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))
    figure = new_figure(3 * columns + 0.5, 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        _plot_slice(axes, trials, name)
    for row in grid:
        row[0].set_ylabel(_label(objective))
    handles, legend = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, legend, loc="outside right center", frameon=False)
    figure.suptitle(f"Results by parameter value: {_label(objective)}")
    save(figure, target)


def _plot_slice(axes: Axes, trials: Sequence[Trial], name: str) -> None:
    """Plot the first result of each trial by the value of one parameter."""
    positions, labels = _positions(trials, name)
    with_results = [trial for trial in trials if trial.results]
    for state, (color, marker) in STYLES.items():
        members = [trial for trial in with_results if trial.state == state]
        if members:  # also without points, so that all panels have the same legend
            points = [(positions[t.number], t.results[0]) for t in members if name in t.params]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.scatter(x, y, color=color, marker=marker, s=18, label=state, zorder=3)
    if labels:
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=7)
    elif _spans_decades(positions.values()):
        axes.set_xscale("log")
    _log_scale_if_positive(axes, [trial.results[0] for trial in with_results])
    axes.set_xlabel(_short(name))
    axes.grid(color="0.9")


def plot_parallel_coordinates(target: Path, trials: Sequence[Trial], objective: str) -> None:
    """Plot each trial as a line through its parameter values, with its objective as the color.

    Each axis runs from the lowest to the highest value; a range that does not apply to a trial is
    below the axis. Optuna's plot leaves out pruned trials, and its tick labels can overlap the
    lines.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    names = _param_names(trials)
    shown = sorted((t for t in trials if t.results), key=lambda t: t.results[0], reverse=True)
    results = np.array([trial.results[0] for trial in shown])
    norm = (LogNorm if results.min() > 0 else Normalize)(results.min(), results.max())
    colors = ScalarMappable(norm, "viridis_r")
    heights = {name: _heights(trials, name) for name in names}
    figure = new_figure(max(6, 1.1 * len(names) + 2), 4.2)
    axes = figure.subplots()
    for trial, color in zip(shown, colors.to_rgba(results), strict=True):
        complete = trial.state == "complete"
        axes.plot(
            [heights[name].get(trial.number, -0.08) for name in names],
            color=tuple(color),
            linewidth=1.6 if complete else 0.8,
            linestyle="-" if complete else "--",
        )
    axes.set_xticks(range(len(names)), map(_short, names), rotation=35, ha="right", fontsize=8)
    axes.set_yticks([0, 1], ["lowest", "highest"])
    axes.set_title("Parallel coordinates of all trials (dashed: pruned)")
    axes.grid(color="0.85", axis="x")
    figure.colorbar(colors, ax=axes, label=_label(objective))
    save(figure, target)


def plot_pareto_front(
    target: Path,
    trials: Sequence[Trial],
    front: Sequence[Trial],
    best: Trial,
    objectives: Sequence[str],
) -> None:
    """Plot the first two objectives of complete trials, the Pareto front and the best trial.

    Optuna's plot has no mark for the best trial and no logarithmic axes.
    """
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    points = {trial.number: trial.results[:2] for trial in trials if trial.state == "complete"}
    groups: list[tuple[str, list[int], dict[str, Any]]] = [
        ("complete", list(points), {"color": PALETTE[9], "marker": "o", "s": 20}),
        ("Pareto front", [t.number for t in front], {"color": PALETTE[0], "marker": "o"}),
        ("selected", [best.number], {"color": PALETTE[1], "marker": "*", "s": 160}),
    ]
    for label, members, style in groups:
        x, y = zip(*(points[number] for number in members), strict=True)
        axes.scatter(x, y, label=label, zorder=3, **style)
    title = "Pareto front of all complete trials"
    axes.set(xlabel=_label(objectives[0]), ylabel=_label(objectives[1]), title=title)
    for axis, values in zip("xy", zip(*points.values(), strict=True), strict=True):
        if _spans_decades(values):
            axes.set(**{f"{axis}scale": "log"})
    axes.grid(color="0.9")
    legend_outside(axes)
    save(figure, target)


def _param_names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def _short(name: str) -> str:
    """Return the last part of the path of a parameter."""
    return name.rpartition(".")[2]


def _label(objective: str) -> str:
    return LABELS.get(objective, objective)


def _positions(trials: Sequence[Trial], name: str) -> tuple[dict[int, float], list[str]]:
    """Return the position of each trial on the axis of a parameter, by trial number.

    For a categorical parameter, positions are indices of the labels that are returned too.
    """
    values = {trial.number: trial.params[name] for trial in trials if name in trial.params}
    if all(isinstance(value, int | float) for value in values.values()):
        return values, []
    choices = sorted(set(values.values()))
    labels = [_as_text(json.loads(choice)) for choice in choices]
    return {number: choices.index(value) for number, value in values.items()}, labels


def _heights(trials: Sequence[Trial], name: str) -> dict[int, float]:
    """Return the position of each trial on the axis of a parameter, scaled to [0, 1]."""
    positions, _ = _positions(trials, name)
    values = np.array(list(positions.values()), dtype=float)
    if _spans_decades(values):
        values = np.log(values)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return dict(zip(positions, scaled.tolist(), strict=True))


def _as_text(choice: Any) -> str:
    return "-".join(map(str, choice)) if isinstance(choice, list) else str(choice)


def _spans_decades(values: Iterable[float]) -> bool:
    numbers = list(values)
    return bool(min(numbers) > 0 and max(numbers) / min(numbers) > 20)


def _log_scale_if_positive(axes: Axes, results: Sequence[float]) -> None:
    if results and min(results) > 0:
        axes.set_yscale("log")
