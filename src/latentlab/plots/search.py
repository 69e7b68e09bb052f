"""The trials of a study: what they reached, by what, and how."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentlab.search.trial import Trial

STYLES = {"complete": (PALETTE[0], "o"), "pruned": (PALETTE[9], "x"), "failed": (PALETTE[1], "v")}
COLUMNS = 4


def plot_trials(
    target: Path, trials: Sequence[Trial], objective: str, best: Sequence[Trial | None]
) -> None:
    """Draw what each trial reached in an objective, and after each the best one so far."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    for state, (colour, marker) in STYLES.items():
        members = [trial for trial in trials if trial.state == state and trial.results]
        if members:
            numbers = [trial.number for trial in members]
            reached = [trial.results[0] for trial in members]
            axes.scatter(numbers, reached, color=colour, marker=marker, label=state, zorder=3)
    results = [trial.results[0] for trial in trials if trial.results]
    so_far = [math.nan if trial is None else trial.results[0] for trial in best]
    axes.step(range(len(best)), so_far, where="post", color=PALETTE[1], label="best so far")
    _scale(axes, results)
    axes.set(xlabel="trial", ylabel=objective, title="search: trials")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)


def plot_learning_curves(
    target: Path, trials: Sequence[Trial], objective: str, best: Trial
) -> None:
    """Draw a figure of each trial against the epoch; where a pruned one ended there is a cross."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    shown = [trial for trial in trials if trial.history and trial is not best]
    for trial in [*shown, best]:
        epochs = [record["epoch"] for record in trial.history]
        values = [record[objective] for record in trial.history]
        style = {"color": STYLES[trial.state][0], "alpha": 0.5, "linewidth": 1.0}
        if trial is best:
            style = {"color": PALETTE[1], "linewidth": 2.0, "label": f"best: trial {best.number}"}
        axes.plot(epochs, values, **style)
        if trial.state == "pruned":
            axes.plot(epochs[-1:], values[-1:], color=PALETTE[9], marker="x")
    for state in ("complete", "pruned"):
        colour, marker = STYLES[state]
        axes.plot([], [], color=colour, marker=marker if state == "pruned" else "", label=state)
    _scale(axes, [record[objective] for trial in shown for record in trial.history])
    axes.set(xlabel="epoch", ylabel=objective, title="search: learning curves")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)


def plot_importances(target: Path, importances: dict[str, float], judged: str) -> None:
    """Draw the share of each range in the variance of the results that `judged` names."""
    figure = new_figure(6.5, 1.2 + 0.3 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color=PALETTE[0])
    axes.set(xlabel="importance (PED-ANOVA)", title=f"search: what decides {judged}")
    axes.grid(color="0.9", axis="x")
    save(figure, target)


def plot_slices(target: Path, trials: Sequence[Trial], objective: str) -> None:
    """Draw an objective against what was drawn from each range."""
    names = _drawn_names(trials)
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))
    figure = new_figure(3 * columns + 0.5, 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    reached = [trial.results[0] for trial in trials if trial.results]
    for axes, name in zip(grid.flat, names, strict=False):
        positions, labels = _positions(trials, name)
        for state, (colour, marker) in STYLES.items():
            members = [
                trial
                for trial in trials
                if trial.state == state and trial.results and name in trial.drawn
            ]
            places = [positions[trial.number] for trial in members]
            results = [trial.results[0] for trial in members]
            axes.scatter(places, results, color=colour, marker=marker, s=18, label=state, zorder=3)
        if labels:
            axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=7)
        elif _spans_decades(positions.values()):
            axes.set_xscale("log")
        _scale(axes, reached)
        axes.set_xlabel(_short(name))
        axes.grid(color="0.9")
    for row in grid:
        row[0].set_ylabel(objective)
    handles, legend = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, legend, loc="outside right center", frameon=False)
    figure.suptitle("search: the objective against each range")
    save(figure, target)


def plot_parallel(target: Path, trials: Sequence[Trial], objective: str) -> None:
    """Draw each trial as a line through what it drew, coloured by its objective.

    Every axis runs from its lowest to its highest value; what was not drawn is at the bottom.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    names = _drawn_names(trials)
    shown = sorted((t for t in trials if t.results), key=lambda t: t.results[0], reverse=True)
    results = [trial.results[0] for trial in shown]
    norm = (LogNorm if min(results) > 0 else Normalize)(min(results), max(results))
    colours = ScalarMappable(norm, "viridis_r")
    heights = {name: _heights(trials, name) for name in names}
    figure = new_figure(max(6, 1.1 * len(names) + 2), 4.2)
    axes = figure.subplots()
    for trial in shown:
        line = [heights[name].get(trial.number, -0.08) for name in names]
        strong = trial.state == "complete"
        axes.plot(
            line,
            color=colours.to_rgba(trial.results[0]),
            linewidth=1.6 if strong else 0.8,
            linestyle="-" if strong else "--",
        )
    axes.set_xticks(range(len(names)), map(_short, names), rotation=35, ha="right", fontsize=8)
    axes.set_yticks([0, 1], ["lowest", "highest"])
    axes.set_title("search: trials through what they drew (dashed: pruned)")
    axes.grid(color="0.85", axis="x")
    figure.colorbar(colours, ax=axes, label=objective)
    save(figure, target)


def plot_front(
    target: Path,
    trials: Sequence[Trial],
    front: Sequence[Trial],
    chosen: Trial,
    objectives: Sequence[str],
) -> None:
    """Draw two objectives of each trial, those that no other beats, and the one chosen."""
    figure = new_figure(6.5, 3.8)
    axes = figure.subplots()
    places = {trial.number: trial.results[:2] for trial in trials if trial.state == "complete"}
    for label, members, style in (
        ("complete", list(places), {"color": PALETTE[9], "marker": "o", "s": 20}),
        ("no other is better", [t.number for t in front], {"color": PALETTE[0], "marker": "o"}),
        ("chosen", [chosen.number], {"color": PALETTE[1], "marker": "*", "s": 160}),
    ):
        axes.scatter(*zip(*(places[n] for n in members), strict=True), label=label, **style)
    axes.set(xlabel=objectives[0], ylabel=objectives[1], title="search: Pareto front")
    for axis, values in zip("xy", zip(*places.values(), strict=True), strict=True):
        if _spans_decades(values):
            axes.set(**{f"{axis}scale": "log"})
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)


def _drawn_names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.drawn))


def _short(name: str) -> str:
    """The end of the path of a parameter, which says enough on an axis."""
    return name.rpartition(".")[2]


def _positions(trials: Sequence[Trial], name: str) -> tuple[dict[int, float], list[str]]:
    """Where each trial that drew `name` is on its axis, and the labels of one with choices."""
    drawn = {trial.number: trial.drawn[name] for trial in trials if name in trial.drawn}
    if all(isinstance(value, int | float) for value in drawn.values()):
        return drawn, []
    choices = sorted(set(drawn.values()))
    labels = [_as_text(json.loads(choice)) for choice in choices]
    return {number: choices.index(value) for number, value in drawn.items()}, labels


def _heights(trials: Sequence[Trial], name: str) -> dict[int, float]:
    """What each trial drew, from 0 to 1."""
    positions, _ = _positions(trials, name)
    values = np.array(list(positions.values()), dtype=float)
    if _spans_decades(values):
        values = np.log(values)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return dict(zip(positions, scaled.tolist(), strict=True))


def _as_text(choice: Any) -> str:
    return "-".join(map(str, choice)) if isinstance(choice, list) else str(choice)


def _spans_decades(values: Any) -> bool:
    present = list(values)
    return min(present) > 0 and max(present) / min(present) > 20


def _scale(axes: Axes, results: Sequence[float]) -> None:
    """A logarithmic axis where all results are above 0."""
    if results and min(results) > 0:
        axes.set_yscale("log")
