"""What trials are judged by, and which of them is chosen."""

from collections.abc import Iterable, Iterator, Sequence

from latentlab.common.errors import EnvironmentProblem
from latentlab.params.studies import StudyParams
from latentlab.search.trial import COMPLETE, Trial
from latentlab.training.jobs import Outcome

SIGNS = {"minimize": 1.0, "maximize": -1.0}


def results_of(outcomes: Sequence[Outcome], objectives: Sequence[str]) -> list[float]:
    """The figure for each objective: of the weights that would be kept, the mean over folds."""
    return [
        sum((outcome.best | outcome.figures)[name] for outcome in outcomes) / len(outcomes)
        for name in objectives
    ]


def pareto_front(trials: Sequence[Trial], settings: StudyParams) -> list[Trial]:
    """Complete trials that no other one beats in one objective and equals in all others."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    costs = {trial.number: _costs(trial, settings) for trial in complete}
    return [
        trial
        for trial in complete
        if not any(_dominates(costs[other.number], costs[trial.number]) for other in complete)
    ]


def best_so_far(trials: Iterable[Trial], settings: StudyParams) -> Iterator[Trial | None]:
    """For each trial the one that would be chosen of those up to it."""
    front: list[Trial] = []
    for trial in trials:
        if trial.state == COMPLETE:
            front = pareto_front([*front, trial], settings)
        yield best_of(front, settings) if front else None


def best_of(trials: Sequence[Trial], settings: StudyParams) -> Trial:
    """The trial that is chosen.

    Of the trials that no other beats, those are close whose first objective is worse than the best
    by at most `tolerance`, as a share of it; among them the second objective decides, then the
    third. Of equals the earliest is taken. EnvironmentProblem where no trial is complete.
    """
    front = pareto_front(trials, settings)
    if not front:
        reasons = "; ".join(sorted({trial.reason for trial in trials}))
        raise EnvironmentProblem(
            f"none of {len(trials)} trials completed ({reasons}); mend the space of the search"
        )
    costs = {trial.number: _costs(trial, settings) for trial in front}
    best = min(cost[0] for cost in costs.values())
    close = [t for t in front if costs[t.number][0] <= best + settings.tolerance * abs(best)]
    return min(close, key=lambda t: (*costs[t.number][1:], costs[t.number][0], t.number))


def _costs(trial: Trial, settings: StudyParams) -> list[float]:
    """The results, signed so that less is better."""
    signs = [SIGNS[direction] for direction in settings.objectives.values()]
    return [sign * result for sign, result in zip(signs, trial.results, strict=True)]


def _dominates(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
