"""Trainings that run in parallel, each logged as a nested run."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from latentlab.common.errors import TrainingDiverged
from latentlab.common.progress import progress_bar
from latentlab.models.io import TrainableModel
from latentlab.params.networks import OptimizationParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Draw, Snapshots, keep_pictures, picture_files
from latentlab.tracking.run import Run
from latentlab.training.jobs import Job, Outcome, run_side_by_side

Evaluate = Callable[[Run, Outcome], None]
"""A function that evaluates the result of a job and logs that to its nested run."""


def job_of(
    stage: StageContext,
    name: str,
    file: str,
    settings: OptimizationParams,
    build: Callable[[], TrainableModel],
    params: dict[str, Any],
    train_indices: Tensor | None = None,
    held_out: Tensor | None = None,
    model_dir: Path | None = None,
    seed: int | None = None,
    draw: Draw | None = None,
) -> Job:
    """Return a job that trains the network from `build` on the images of a stage.

    `file` is the name of its checkpoint within the stage's checkpoints. `seed` is the stage's
    seed by default. `draw` makes the pictures that are logged during the training. See `Job` for
    the other arguments.
    """
    take = None
    if draw is not None:
        take = Snapshots(draw, settings.epochs, _picture_folder(stage, name)).take
    return Job(
        name=name,
        build=build,
        settings=settings,
        params=params,
        data_dir=stage.project.outputs("fetch"),
        seed=stage.seed if seed is None else seed,
        device=str(stage.device),
        checkpoint=stage.checkpoints / f"{file}-{stage.device.type}.pt",
        train_indices=train_indices,
        held_out=held_out,
        model_dir=model_dir,
        after_epoch=take,
    )


def run_and_log_jobs(
    stage: StageContext,
    kind: str,
    jobs: list[Job],
    run_name: str = "{}",
    evaluate: Evaluate | None = None,
) -> list[Outcome]:
    """Run all jobs and log each one as a nested run; return the outcomes in the order of `jobs`.

    `kind` says what they are, such as `fold`, and `{}` in `run_name` stands for a job's name. A job
    that fails has an `error` in its outcome and does not stop the others. `evaluate` is called with
    the outcome of each other job and with its nested run.
    """
    outcomes = []
    with progress_bar(stage.name, len(jobs), "trainings") as bar:
        for job, outcome in zip(jobs, run_side_by_side(jobs), strict=True):
            outcomes.append(outcome)
            _log(stage, kind, run_name.format(job.name), job, outcome, evaluate)
            bar.advance(1)
    return outcomes


def run_and_log_all(
    stage: StageContext, kind: str, jobs: list[Job], evaluate: Evaluate | None = None
) -> list[Outcome]:
    """Run and log all jobs as `run_and_log_jobs`, but raise TrainingDiverged if one failed."""
    outcomes = run_and_log_jobs(stage, kind, jobs, evaluate=evaluate)
    for outcome in outcomes:
        if outcome.error is not None:
            raise TrainingDiverged(f"{outcome.name}: {outcome.error}")
    return outcomes


def mean_and_deviation(values: list[float]) -> dict[str, float]:
    """Return the mean, the sample standard deviation and the number of values."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": spread, "n": len(values)}


def _picture_folder(stage: StageContext, job: str) -> Path:
    return stage.checkpoints / f"pictures-{job}"


def _log(
    stage: StageContext,
    kind: str,
    run_name: str,
    job: Job,
    outcome: Outcome,
    evaluate: Evaluate | None,
) -> None:
    with stage.run.nested(run_name, kind, outcome.error, outcome.times) as run:
        run.log_params(job.params)
        for record, ended in zip(outcome.history, outcome.times[1:], strict=True):
            run.log_epoch(record, ended)
        pictures = _picture_folder(stage, job.name)
        for name, epoch, path in picture_files(pictures):
            run.log_image(name, epoch, path)
        if pictures.is_dir():
            keep_pictures(pictures, stage.epoch_pictures / job.name)
        metrics = {"seconds": outcome.seconds, "parameters": outcome.parameters}
        run.log_metrics(metrics, step=len(outcome.history))
        if evaluate is not None and outcome.error is None:
            evaluate(run, outcome)
