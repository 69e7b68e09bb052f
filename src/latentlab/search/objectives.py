"""The objective values of trials, the Pareto front and the choice of the best trial."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import optuna

from latentlab.common.errors import EnvironmentProblem
from latentlab.params.studies import StudyParams
from latentlab.search.trial import COMPLETE, Trial
from latentlab.training.jobs import Outcome

Direction = Literal["minimize", "maximize"]

SIGNS: dict[Direction, float] = {"minimize": 1.0, "maximize": -1.0}
"""The factor that turns an objective value into a cost, of which less is better."""


def results_of(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[float]:
    """Return the value of each objective at the best epoch, averaged over folds."""
    return [
        sum((outcome.best | outcome.cost)[name] for outcome in outcomes) / len(outcomes)
        for name in objectives
    ]


def pareto_front(trials: Sequence[Trial], settings: StudyParams) -> list[Trial]:
    """Return the complete trials that no other trial dominates, in their given order.

    Trial A dominates B if no objective of A is worse and at least one is better.
    """
    complete = [trial for trial in trials if trial.state == COMPLETE]
    study = optuna.create_study(directions=list(settings.objectives.values()))
    study.add_trials(optuna.trial.create_trial(values=trial.results) for trial in complete)
    return [complete[entry.number] for entry in study.best_trials]


def best_so_far(trials: Iterable[Trial], settings: StudyParams) -> Iterator[Trial | None]:
    """Yield the best of the trials up to each trial; None before the first complete one."""
    front: list[Trial] = []
    for trial in trials:
        if trial.state == COMPLETE:
            front = pareto_front([*front, trial], settings)
        yield best_of(front, settings) if front else None


def best_of(trials: Sequence[Trial], settings: StudyParams) -> Trial:
    """Return the best trial of the Pareto front.

    With several objectives, the candidates are the trials whose first objective is worse than the
    best by at most the fraction `tolerance`; of these, the second objective decides, then the
    third. Ties go to the earliest trial. Raises EnvironmentProblem if no trial is complete.
    """
    front = pareto_front(trials, settings)
    if not front:
        reasons = "; ".join(sorted({trial.reason for trial in trials}))
        raise EnvironmentProblem(
            f"none of the {len(trials)} trials completed ({reasons}). Change the search space in "
            "params.yaml"
        )
    costs = {trial.number: _costs(trial, settings) for trial in front}
    best = min(cost[0] for cost in costs.values())
    close = [t for t in front if costs[t.number][0] <= best + settings.tolerance * abs(best)]
    return min(close, key=lambda t: (*costs[t.number][1:], costs[t.number][0], t.number))


def _costs(trial: Trial, settings: StudyParams) -> list[float]:
    """Return the results with signs such that less is better."""
    signs = [SIGNS[direction] for direction in settings.objectives.values()]
    return [sign * result for sign, result in zip(signs, trial.results, strict=True)]
