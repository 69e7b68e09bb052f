"""The sections of `params.yaml` that steer a study."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.fields import Count, NotNegative, Section
from latentlab.params.ranges import Choices, Space, grid_size, named_ranges

Objective = Literal[
    "validation/loss",
    "validation/mse",
    "validation/accuracy",
    "parameters",
    "operations",
    "latency",
]
"""A figure of the network that is kept; the latter three need no images.

`operations` are multiplications and additions for an image, `latency` is the time that takes in
milliseconds: measured, and therefore the one figure that differs from run to run.
"""


class StudyParams(Section):
    """A study: how many trials, how much training each, which ranges, judged how.

    A trial trains in rungs, of `first_rung` epochs at first and `reduction` times as many after
    each; the pruner decides between them whether it goes on. `batch` trials are drawn together.
    """

    trials: Count
    epochs: Count
    max_train_images: Count
    folds: Annotated[int, Strict(), Field(ge=2)] | None = None
    sampler: Literal["tpe", "random", "cma-es", "grid"] = "tpe"
    batch: Count = 4
    pruner: Literal["halving", "median", "none"] = "halving"
    min_epochs: Count = 1
    reduction_factor: Annotated[int, Strict(), Field(ge=2)] = 3
    objectives: Annotated[
        dict[Objective, Literal["minimize", "maximize"]], Field(min_length=1, max_length=3)
    ] = Field({"validation/loss": "minimize"})
    tolerance: NotNegative = 0.0
    space: Space

    @property
    def rungs(self) -> list[int]:
        """Epochs after which the pruner is asked, the last one being all."""
        rungs = []
        rung = self.min_epochs
        while rung < self.epochs and self.pruner != "none":
            rungs.append(rung)
            rung *= self.reduction_factor
        return [*rungs, self.epochs]

    @model_validator(mode="after")
    def _can_be_searched(self) -> "StudyParams":
        ranges = dict(named_ranges(self.space))
        conditional = any(each.when for each in ranges.values())
        numeric = [each for each in ranges.values() if not isinstance(each, Choices)]
        if len(self.objectives) > 1 and self.pruner != "none":
            raise ValueError("with more than one objective nothing is pruned: write pruner: none")
        if self.sampler == "cma-es" and (conditional or len(numeric) < 2):
            raise ValueError(
                "cma-es needs at least two ranges of numbers, and none with `when`; write tpe"
            )
        if self.sampler == "cma-es" and len(self.objectives) > 1:
            raise ValueError("cma-es knows one objective; write tpe")
        if self.sampler == "grid" and self.space:
            size = 0 if conditional else grid_size(self.space)
            if not size:
                raise ValueError("a grid needs a step in each range of floats, and no `when`")
            if self.trials > size:
                raise ValueError(f"the grid has {size} points; write at most that many trials")
        return self


WHERE = ("workers", "executor", "scheduler")


class SearchParams(StudyParams):
    """The study over parameters of train, and where it runs, which changes nothing of it."""

    workers: Count | Literal["auto"] = "auto"
    executor: Literal["local", "dask"] = "local"
    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls|ucx|ws|wss)://.+")] | None = None

    @property
    def where(self) -> dict[str, Any]:
        """Where it runs."""
        return {name: value for name, value in self.tree().items() if name in WHERE}

    @property
    def what(self) -> dict[str, Any]:
        """All that decides what it finds."""
        return {name: value for name, value in self.tree().items() if name not in WHERE}

    @model_validator(mode="after")
    def _has_a_scheduler(self) -> "SearchParams":
        if self.executor == "dask" and self.scheduler is None:
            raise ValueError("executor dask needs a scheduler, such as tcp://host:8786")
        return self
