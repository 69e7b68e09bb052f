"""Trainings as jobs that can run in another process or on another machine."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.common.errors import TrainingDiverged
from latentlab.common.processes import InlineExecutor, Killed, available_cores, processes
from latentlab.data.image_set import ImageSet, load_split
from latentlab.models.cost import cost_metrics, count_parameters
from latentlab.models.device import prepare
from latentlab.models.io import TrainableModel, save_model
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.loop import Record, Training
from latentlab.training.pruning import sparsity

OUT_OF_MEMORY = "allocate memory"
"""Part of torch's message on the CPU; on a GPU torch raises OutOfMemoryError."""


@dataclass(frozen=True)
class Job:
    """One training, from its checkpoint up to `stop_epoch`, or to its end if that is None.

    `build` returns the network, and `data_dir` is the output folder of `fetch`. The network is
    trained on the images `train_indices` of the training split (None: all), and validated on the
    images `held_out` of the training split (None: on the validation split). `cost_metrics` are
    names of metrics for `models.cost.cost_metrics`. The network is saved in `model_dir` (None: it
    is not saved). `params` are logged with the training: its effective parameters, nested as in
    `params.yaml`, and what else distinguishes it from similar trainings. `after_epoch` is called
    with the network in evaluation mode and the number of each epoch.
    """

    name: str
    build: Callable[[], TrainableModel]
    settings: OptimizationParams
    data_dir: Path
    seed: int
    device: str
    checkpoint: Path | None = None
    train_indices: Tensor | None = None
    held_out: Tensor | None = None
    stop_epoch: int | None = None
    cost_metrics: tuple[str, ...] = ()
    model_dir: Path | None = None
    params: dict[str, Any] = field(default_factory=dict)
    after_epoch: Callable[[TrainableModel, int], object] | None = None

    def image_sets(self) -> tuple[ImageSet, ImageSet]:
        """Return the images to train on and those to validate on."""
        train = load_split(self.data_dir, "train")
        if self.held_out is None:
            validation = load_split(self.data_dir, "validation")
        else:
            validation = train.take(self.held_out)
        return train if self.train_indices is None else train.take(self.train_indices), validation


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    `finished` says that no epochs are left to train, and `error` why a training failed, if it did.
    `seconds` is the time of training since the first epoch, including earlier jobs that this one
    resumed. `cost` has the values of the job's `cost_metrics`. `times` are the Unix times of the
    start and of the end of each epoch.
    """

    name: str
    history: list[Record]
    best_epoch: int
    parameters: int
    sparsity: float
    seconds: float
    error: str | None
    finished: bool = True
    cost: dict[str, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list, compare=False)

    @classmethod
    def before(cls, job: Job) -> "Outcome":
        """Return the outcome of a job that has not trained any epoch yet."""
        return cls(job.name, [], 0, 0, 0.0, 0.0, None, finished=False)

    @property
    def best(self) -> Record:
        """The record of the best epoch, whose weights are saved."""
        return self.history[self.best_epoch - 1]

    @property
    def best_loss(self) -> float:
        """The validation loss of the best epoch."""
        return self.best["validation/loss"]


def run_side_by_side(jobs: list[Job]) -> Iterator[Outcome]:
    """Run jobs in parallel, one per core, and yield their outcomes in the order of the jobs.

    On a GPU they run one after the other in this process.
    """
    if jobs[0].device != "cpu":
        for job in jobs:
            yield outcome_of(InlineExecutor().submit(run_job, job), Outcome.before(job))
        return
    with processes(min(available_cores(), len(jobs))) as executor:
        futures = [executor.submit(run_job_alone, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            yield outcome_of(future, Outcome.before(job))


def outcome_of(future: "Future[Outcome]", earlier: Outcome) -> Outcome:
    """Wait for the outcome of a job; if it ran out of memory, return `earlier` with the error.

    All other exceptions are raised.
    """
    try:
        return future.result()
    except (Killed, MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not (out_of_memory or isinstance(error, Killed) or OUT_OF_MEMORY in str(error)):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return replace(earlier, error=reason[0], finished=True)


def run_job_alone(job: Job) -> Outcome:
    """Run a job in a process of its own, with one thread.

    With one thread the result does not depend on the number of cores.
    """
    prepare(RuntimeParams(seed=0, device="cpu", threads=1))
    return run_job(job)


def run_job(job: Job) -> Outcome:
    """Train one network, save it if the job says so, and return the outcome."""
    torch.manual_seed(job.seed)
    model = job.build()
    train, validation = job.image_sets()
    training = Training(
        model,
        job.settings,
        train,
        validation,
        job.seed,
        torch.device(job.device),
        Checkpoint(job.checkpoint),
    )
    training.resume()
    error = None
    try:
        for _ in training.epochs(job.stop_epoch):
            if job.after_epoch is not None:
                job.after_epoch(training.eval_model, len(training.history))
    except TrainingDiverged as diverged:
        error = str(diverged)
    finished = training.finished or error is not None
    model = training.restore_best()
    if job.model_dir is not None:
        save_model(model, job.model_dir)
    return Outcome(
        name=job.name,
        history=training.history,
        best_epoch=training.best_epoch,
        parameters=count_parameters(model),
        sparsity=sparsity(model),
        seconds=training.seconds,
        error=error,
        finished=finished,
        cost=cost_metrics(model, train.floats(slice(1)).to(training.device), job.cost_metrics),
        times=training.times,
    )
