"""Trainings as work that can be handed to another process, or to another machine."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from latentlab.common.errors import TrainingDiverged
from latentlab.common.processes import InlineExecutor, Killed, available_cores, processes
from latentlab.data.image_set import ImageSet, load_split
from latentlab.models.cost import cost_metrics, count_parameters
from latentlab.models.device import prepare
from latentlab.models.io import save_model
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.loop import Record, Training
from latentlab.training.pruning import sparsity

NO_MEMORY = "allocate memory"
"""In what torch says of a CPU; what it raises of a GPU has a type of its own."""


@dataclass(frozen=True)
class Job:
    """One training, from its checkpoint to the epoch `until`, or to its end where that is None.

    `build` makes the network. Images are those at `train_indices` of the training split (all where
    None); it is validated on the validation split, or on `held_out` images of the training split.
    `figures` names what else is to be known of the network, see `cost_metrics`. `kept` is the folder
    in which it is stored; None where only the outcome is wanted.
    """

    name: str
    build: Callable[[], nn.Module]
    settings: OptimizationParams
    data_dir: Path
    seed: int
    device: str
    checkpoint: Path | None = None
    train_indices: Tensor | None = None
    held_out: Tensor | None = None
    stop_epoch: int | None = None
    figures: tuple[str, ...] = ()
    kept: Path | None = None

    def image_sets(self) -> tuple[ImageSet, ImageSet]:
        """To train on, to validate on."""
        train = load_split(self.data_dir, "train")
        if self.held_out is None:
            validation = load_split(self.data_dir, "validation")
        else:
            validation = train.take(self.held_out)
        return train if self.train_indices is None else train.take(self.train_indices), validation


@dataclass(frozen=True)
class Outcome:
    """What came of a job; `over` says that nothing is left to train, `fault` why, if it failed.

    `seconds` are those of its training, since its first epoch and over all that went on with it.
    """

    name: str
    history: list[Record]
    best_epoch: int
    parameters: int
    sparsity: float
    seconds: float
    fault: str | None
    over: bool = True
    figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def before(cls, job: Job) -> "Outcome":
        """That of a job of which nothing is trained yet."""
        return cls(job.name, [], 0, 0, 0.0, 0.0, None, finished=False)

    @property
    def best(self) -> Record:
        """The record of the weights that would be kept."""
        return self.history[self.best_epoch - 1]

    @property
    def best_loss(self) -> float:
        """Its validation loss."""
        return self.best["validation/loss"]


def run_side_by_side(jobs: list[Job]) -> Iterator[Outcome]:
    """Run jobs, as many at a time as there are cores; yield their outcomes in the order of jobs.

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


def outcome_of(future: Future, earlier: Outcome) -> Outcome:
    """What came of a job; where memory was too small, what was there before, with the reason."""
    try:
        return future.result()
    except (Killed, MemoryError, RuntimeError) as failed:
        of_memory = isinstance(failed, (MemoryError, torch.OutOfMemoryError))
        if not (of_memory or isinstance(failed, Killed) or NO_MEMORY in str(failed)):
            raise
        reason = str(failed).strip().splitlines() or [type(failed).__name__]
        return replace(earlier, error=reason[0], finished=True)


def run_job_alone(job: Job) -> Outcome:
    """Run a job in a process that has nothing else to do.

    It has one thread, so that no result depends on how many cores there are.
    """
    prepare(RuntimeParams(seed=0, device="cpu", threads=1))
    return run_job(job)


def run_job(job: Job) -> Outcome:
    """Train one network."""
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
    fault = None
    try:
        for _ in training.epochs(job.stop_epoch):
            pass
    except TrainingDiverged as diverged:
        fault = str(diverged)
    over = training.finished or fault is not None
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
        error=fault,
        finished=over,
        figures=cost_metrics(model, train.floats(slice(1)).to(training.device), job.figures),
    )
