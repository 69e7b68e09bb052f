"""Following trainings that run side by side, each a nested run."""

import statistics
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from latentlab.common.errors import TrainingDiverged
from latentlab.common.progress import progress_bar
from latentlab.params.networks import OptimizationParams
from latentlab.pipeline.context import StageContext
from latentlab.training.jobs import Job, Outcome, run_side_by_side


def job_of(
    stage: StageContext,
    name: str,
    file: str,
    settings: OptimizationParams,
    build: Callable[[], nn.Module],
    train_indices: Tensor | None = None,
    held_out: Tensor | None = None,
    kept: Path | None = None,
    seed: int | None = None,
) -> Job:
    """A training on the images of a stage; `file` names its checkpoint, `build` the network."""
    return Job(
        name=name,
        build=build,
        settings=settings,
        data_dir=stage.project.outputs("fetch"),
        seed=stage.seed if seed is None else seed,
        device=str(stage.device),
        checkpoint=stage.checkpoints / f"{file}-{stage.device.type}.pt",
        train_indices=train_indices,
        held_out=held_out,
        model_dir=kept,
    )


def run_and_log_jobs(stage: StageContext, jobs: list[Job]) -> list[Outcome]:
    """Run all jobs; each outcome is shown and told to MLflow when it is there."""
    outcomes = []
    with progress_bar(stage.name, len(jobs), "trainings") as bar:
        for job, outcome in zip(jobs, run_side_by_side(jobs), strict=True):
            outcomes.append(outcome)
            _tell(stage, job, outcome)
            bar.advance(1)
    return outcomes


def run_and_log_all(stage: StageContext, jobs: list[Job]) -> list[Outcome]:
    """Run all jobs; TrainingDiverged where one of them failed."""
    outcomes = run_and_log_jobs(stage, jobs)
    for outcome in outcomes:
        if outcome.error is not None:
            raise TrainingDiverged(f"{outcome.name}: {outcome.error}")
    return outcomes


def mean_and_deviation(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation and number of the same figure of several trainings."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": spread, "n": len(values)}


def _tell(stage: StageContext, job: Job, outcome: Outcome) -> None:
    with stage.run.nested(job.name, outcome.error) as run:
        run.log_params(job.settings.tree())
        for record in outcome.history:
            run.log_epoch(record)
        epochs = len(outcome.history)
        figures = {"seconds": outcome.seconds, "parameters": outcome.parameters}
        run.log_metrics(figures, step=epochs)
