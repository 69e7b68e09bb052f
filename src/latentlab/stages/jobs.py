"""Following trainings that run side by side, each a nested run."""

from latentlab.progress import progress_bar
from latentlab.stages.stage import Stage
from latentlab.training.jobs import Job, Outcome, run_side_by_side


def follow_jobs(stage: Stage, jobs: list[Job]) -> list[Outcome]:
    """Run all jobs; each outcome is shown and told to MLflow when it is there."""
    outcomes = []
    with progress_bar(stage.name, len(jobs), "trainings") as bar:
        for job, outcome in zip(jobs, run_side_by_side(jobs), strict=True):
            outcomes.append(outcome)
            _tell(stage, job, outcome)
            bar.advance(1)
    return outcomes


def _tell(stage: Stage, job: Job, outcome: Outcome) -> None:
    with stage.run.nested(job.name) as run:
        run.log_params(job.settings.tree())
        for record in outcome.history:
            run.log_epoch(record)
        epochs = len(outcome.history)
        figures = {"seconds": outcome.seconds, "parameters": outcome.parameters}
        run.log_metrics(figures, step=epochs)
        if outcome.fault:
            run.set_tags({"reason": outcome.fault})
