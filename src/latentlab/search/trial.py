"""A trial as stages, tables and pictures see it."""

from dataclasses import dataclass, field
from typing import Any

from latentlab.training.jobs import Outcome
from latentlab.training.loop import Record

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"


@dataclass
class Trial:
    """One draw from the space and what came of it; `results` has a figure for each objective."""

    number: int
    values: dict[str, Any]
    """By the path of a parameter."""
    drawn: dict[str, Any]
    """By the name of a range; what was not drawn is missing."""
    state: str = RUNNING
    reason: str = ""
    results: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """Of its trainings, one for each fold, as far as they went."""

    @property
    def epochs(self) -> int:
        """Epochs trained, of all folds together."""
        return sum(len(outcome.history) for outcome in self.outcomes)

    @property
    def parameters(self) -> int:
        """Weights of its network; 0 where it could not be built."""
        return self.outcomes[0].parameters if self.outcomes else 0

    @property
    def history(self) -> list[Record]:
        """A record for each epoch, the mean over folds."""
        histories = zip(*(outcome.history for outcome in self.outcomes), strict=False)
        return [
            {name: sum(r[name] for r in records) / len(records) for name in records[0]}
            for records in histories
        ]
