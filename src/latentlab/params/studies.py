"""The sections that describe a hyperparameter study."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.fields import Count, Epochs, Images, NotNegative, Section, described
from latentlab.params.ranges import Choices, Space, grid_size, named_ranges

Objective = Literal[
    "validation/loss",
    "validation/mse",
    "validation/accuracy",
    "parameters",
    "operations",
    "latency",
]
"""A metric of the best network of a trial; the last three do not depend on the images.

`operations` counts multiplications and additions per image. `latency` is the time of one image in
milliseconds. It is measured, so it is the only objective that differs between equal runs.
"""

ADDRESS = r"^(tcp|tls|ucx|ws|wss)://.+"
Address = Annotated[
    str,
    Field(pattern=ADDRESS),
    described(ADDRESS, "an address with tcp, tls, ucx, ws or wss, such as 'tcp://host:8786'"),
]


class StudyParams(Section, title="Study"):
    """A study: number of trials, budget of each trial, search space and objectives.

    A trial trains in rungs. After each rung the pruner decides whether the trial is promoted to the
    next one.
    """

    trials: Count = Field(description="Number of trials.")
    epochs: Epochs = Field(description="Epochs of a trial that is not pruned.")
    max_train_images: Images = Field(description="Largest number of training images of each trial.")
    folds: Annotated[int, Strict(), Field(ge=2)] | None = Field(
        default=None,
        description="Folds of the cross-validation that evaluates a trial; null uses the "
        "validation split.",
    )
    sampler: Literal["tpe", "random", "cma-es", "grid"] = Field(
        default="tpe", description="Algorithm that samples the values of each trial."
    )
    batch: Count = Field(
        default=4,
        description="Trials that are sampled together; at least the number of workers uses all of "
        "them.",
    )
    pruner: Literal["halving", "median", "none"] = Field(
        default="halving",
        description="Rule that stops trials between rungs: successive halving, the median rule, or "
        "no pruning.",
    )
    min_epochs: Epochs = Field(default=1, description="Epochs of the first rung.")
    reduction_factor: Annotated[int, Strict(), Field(ge=2)] = Field(
        default=3,
        description="Each rung has this many times the epochs of the one before; halving promotes "
        "the best trial of each group of this size.",
    )
    objectives: Annotated[
        dict[Objective, Literal["minimize", "maximize"]], Field(min_length=1, max_length=3)
    ] = Field(
        default={"validation/loss": "minimize"},
        description="`{metric: minimize}` or `{metric: maximize}`: up to three objectives. More "
        "than one needs pruner: none.",
    )
    tolerance: NotNegative = Field(
        default=0.0,
        description="With several objectives: how much worse than the best value the first "
        "objective may be, as a fraction, for a trial to be chosen by the others.",
    )
    space: Space = Field(
        description="`{path: range}`: the range of each searched parameter; see "
        "docs/how-to/larger-search.md."
    )

    @property
    def rungs(self) -> list[int]:
        """Total epochs at the end of each rung; the last is `epochs`."""
        rungs = []
        rung = self.min_epochs
        while rung < self.epochs and self.pruner != "none":
            rungs.append(rung)
            rung *= self.reduction_factor
        return [*rungs, self.epochs]

    @model_validator(mode="after")
    def _sampler_and_pruner_fit_the_space(self) -> "StudyParams":
        ranges = dict(named_ranges(self.space))
        conditional = any(each.when for each in ranges.values())
        numeric = [each for each in ranges.values() if not isinstance(each, Choices)]
        if len(self.objectives) > 1 and self.pruner != "none":
            raise ValueError("objectives: more than one needs pruner: none")
        if self.sampler == "cma-es" and (conditional or len(numeric) < 2):
            raise ValueError(
                "sampler cma-es needs at least two numeric ranges and no `when`; use tpe instead"
            )
        if self.sampler == "cma-es" and len(self.objectives) > 1:
            raise ValueError("sampler cma-es supports one objective only; use tpe instead")
        if self.sampler == "grid" and self.space:
            size = 0 if conditional else grid_size(self.space)
            if not size:
                raise ValueError("sampler grid needs a step in each float range, and no `when`")
            if self.trials > size:
                raise ValueError(f"trials must be at most {size}, the number of points of the grid")
        return self


EXECUTION = ("workers", "executor", "scheduler")
"""Parameters of `search` that do not change its result."""


class SearchParams(StudyParams):
    """The study over parameters of `train`, and where it is executed."""

    workers: Count | Literal["auto"] = Field(
        default="auto", description="Parallel worker processes; auto is the number of CPU cores."
    )
    executor: Literal["local", "dask"] = Field(
        default="local",
        description="Where trials run: on this machine, or on a Dask cluster.",
    )
    scheduler: Address | None = Field(
        default=None, description="Address of the Dask scheduler, such as tcp://host:8786."
    )

    @property
    def execution_settings(self) -> dict[str, Any]:
        """The parameters that do not change the result."""
        return {name: value for name, value in self.tree().items() if name in EXECUTION}

    @property
    def study_settings(self) -> dict[str, Any]:
        """The parameters that determine the result."""
        return {name: value for name, value in self.tree().items() if name not in EXECUTION}

    @model_validator(mode="after")
    def _dask_has_a_scheduler(self) -> "SearchParams":
        if self.executor == "dask" and self.scheduler is None:
            raise ValueError("executor dask needs a scheduler, such as tcp://host:8786")
        return self
