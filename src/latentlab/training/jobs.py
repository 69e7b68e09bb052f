"""Independent trainings of autoencoders, side by side on the cores there are."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, parent_process
from pathlib import Path

import torch
from torch import Tensor

from latentlab.architecture import Architecture
from latentlab.data.image_set import ImageSet, load_split
from latentlab.errors import EnvironmentProblem, TrainingDiverged
from latentlab.models.autoencoder import Autoencoder
from latentlab.parallel import worker_context
from latentlab.params import OptimizationParams, RuntimeParams
from latentlab.runtime import available_cores, prepare
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity
from latentlab.training.record import Record


@dataclass(frozen=True)
class Job:
    """One training: images at `train_indices` of the training split (all where None).

    Validated on the validation split, or on `held_out` images of the training split.
    """

    name: str
    architecture: Architecture
    settings: OptimizationParams
    fetched: Path
    seed: int
    device: str
    checkpoint: Path | None = None
    train_indices: Tensor | None = None
    held_out: Tensor | None = None

    def image_sets(self) -> tuple[ImageSet, ImageSet]:
        """To train on, to validate on."""
        train = load_split(self.fetched, "train")
        if self.held_out is None:
            validation = load_split(self.fetched, "validation")
        else:
            validation = train.take(self.held_out)
        return train if self.train_indices is None else train.take(self.train_indices), validation


@dataclass(frozen=True)
class Outcome:
    """What came of a job; `fault` says why it stopped early, if it did."""

    name: str
    history: list[Record]
    best_epoch: int
    parameters: int
    sparsity: float
    seconds: float
    fault: str | None

    @property
    def best_loss(self) -> float:
        """The validation loss of the weights that would be kept."""
        return self.history[self.best_epoch - 1]["validation/loss"]


def run_side_by_side(jobs: list[Job]) -> Iterator[Outcome]:
    """Run jobs, as many at a time as there are cores; yield their outcomes in the order of jobs.

    On the CPU each has one thread, so that no result depends on how many cores there are. On a
    GPU they run one after the other in this process.
    """
    if jobs[0].device != "cpu":
        yield from map(run_job, jobs)
        return
    workers = min(available_cores(), len(jobs))
    pool = ProcessPoolExecutor(workers, worker_context(), _prepare_worker)
    try:
        yield from pool.map(run_job, jobs)
    except BrokenProcessPool:
        raise EnvironmentProblem(
            "a training process was killed, perhaps for want of memory; run again to go on"
        ) from None
    except BaseException:
        for process in active_children():  # not the recorder: it ignores what ends these
            process.terminate()
        raise
    finally:
        pool.shutdown()


def run_job(job: Job) -> Outcome:
    """Train one autoencoder."""
    start = time.perf_counter()
    torch.manual_seed(job.seed)
    model = Autoencoder(job.architecture)
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
        for _ in training.epochs():
            pass
    except TrainingDiverged as diverged:
        fault = str(diverged)
    model = training.restore_best()
    return Outcome(
        job.name,
        training.history,
        training.best_epoch,
        sum(parameter.numel() for parameter in model.parameters()),
        sparsity(model),
        time.perf_counter() - start,
        fault,
    )


def _prepare_worker() -> None:
    """One thread, deterministic kernels, and no life after the process that started this one."""
    prepare(RuntimeParams(seed=0, device="cpu", threads=1))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
