"""The trials of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentlab.plots.canvas import PALETTE, new_figure, save

if TYPE_CHECKING:
    from latentlab.search.study import Trial


def plot_trials(target: Path, trials: list[Trial]) -> None:
    """Draw the best validation loss of each trial, and the best so far."""
    tried = [trial for trial in trials if trial.history]
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    for state, colour, marker in (("complete", PALETTE[0], "o"), ("pruned", PALETTE[9], "x")):
        members = [trial for trial in tried if trial.state == state]
        if members:
            axes.scatter(
                [trial.number for trial in members],
                [trial.validation_loss for trial in members],
                color=colour,
                marker=marker,
                label=state,
            )
    complete = [trial for trial in tried if trial.state == "complete"]
    if complete:
        best = np.minimum.accumulate([trial.validation_loss for trial in complete])
        axes.step(
            [*(trial.number for trial in complete), tried[-1].number],
            [*best, best[-1]],
            where="post",
            color=PALETTE[1],
            label="best so far",
        )
    axes.set(xlabel="trial", ylabel="validation MSE", title="search: trials", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)
