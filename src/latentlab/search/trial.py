"""The trial of a study, as stages, tables and plots use it."""

from dataclasses import dataclass, field
from typing import Any

from latentlab.training.jobs import Outcome
from latentlab.training.loop import Record

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"


@dataclass
class Trial:
    """One sample from the search space and the result of training with it.

    `results` has one value per objective; it is empty until the first rung and in failed trials.
    """

    number: int
    values: dict[str, Any]
    """Values by path in `params.yaml`."""
    params: dict[str, Any]
    """Optuna's parameters by name of the range; ranges that do not apply are missing."""
    state: str = RUNNING
    reason: str = ""
    results: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """Outcomes of its trainings so far, one per fold."""

    @property
    def epochs(self) -> int:
        """Number of epochs trained, summed over folds."""
        return sum(len(outcome.history) for outcome in self.outcomes)

    @property
    def parameters(self) -> int:
        """Number of weights of the network; 0 if it could not be built."""
        return self.outcomes[0].parameters if self.outcomes else 0

    @property
    def times(self) -> list[float]:
        """Unix time of the start, and of the end of each epoch in the slowest fold."""
        starts = [outcome.times[0] for outcome in self.outcomes if outcome.times]
        ends = zip(*(outcome.times[1:] for outcome in self.outcomes), strict=False)
        return [min(starts), *map(max, ends)] if starts else []

    @property
    def history(self) -> list[Record]:
        """Metrics of each epoch, averaged over folds."""
        histories = zip(*(outcome.history for outcome in self.outcomes), strict=False)
        return [
            {name: sum(r[name] for r in records) / len(records) for name in records[0]}
            for records in histories
        ]
