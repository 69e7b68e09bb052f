"""Running a study as part of a stage: progress, MLflow runs, the table of trials and plots."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from latentlab.common.progress import Bar, note, progress_bar
from latentlab.data.image_set import stratified_sample
from latentlab.data.splits import stratified_folds
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params
from latentlab.params.studies import StudyParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.fingerprint import similar_studies, study_folder
from latentlab.plots.canvas import draw_in_background
from latentlab.plots.search import (
    plot_importances,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_pareto_front,
    plot_slices,
    plot_trials,
)
from latentlab.search.executors import open_executor
from latentlab.search.importance import importances
from latentlab.search.objectives import best_of, best_so_far, pareto_front
from latentlab.search.record import StudyRecord
from latentlab.search.study import Candidate, Split, Study, Task
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial


@dataclass(frozen=True)
class StudyResult:
    """The trials of a study in the order of their numbers, and the best one, if there are any.

    `importance` is that of each parameter, if there are enough trials.
    """

    trials: list[Trial]
    best: Trial | None
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The values of the best trial by path in `params.yaml`."""
        return self.best.values if self.best else {}

    @property
    def metrics(self) -> dict[str, Any]:
        """The entries of the study in `metrics.json`."""
        states = (COMPLETE, PRUNED, FAILED)
        counts = {state: sum(t.state == state for t in self.trials) for state in states}
        return {
            "trials": counts | {"total": len(self.trials)},
            "epochs": sum(trial.epochs for trial in self.trials),
            **({"importance": self.importance} if self.importance else {}),
        }


def trial_params(params: Params, section: str, epochs: int, values: dict[str, Any]) -> Params:
    """Return the parameters with the values of a trial and its maximum number of epochs.

    Raises ValueError if the values are invalid together.
    """
    budget = {f"{section}.epochs": epochs, f"{section}.patience": None}
    return with_values(params, budget | values)


def run_study(
    stage: StageContext,
    section: str,
    settings: StudyParams,
    candidate: Callable[[dict[str, Any]], Candidate],
    plots: Path,
) -> StudyResult:
    """Run or resume the study that `section` of the parameters describes.

    Writes `trials.csv` to the output folder of the stage, and pictures to `plots`.
    """
    record = _open_record(stage, section, settings)
    task = Task(
        settings=settings,
        candidate=candidate,
        splits=_splits(stage, settings),
        data_dir=stage.project.outputs("fetch"),
        seed=stage.seed,
        device=str(stage.device),
        checkpoints=record.path.parent / "checkpoints",
    )
    stage.checkpoints.mkdir(parents=True, exist_ok=True)  # marks the MLflow run as resumable
    execution = stage.params.search  # all studies use its executor and workers
    ended: list[Trial] = []
    with (
        open_executor(execution, task.device, task.data_dir) as (executor, work),
        progress_bar(stage.name, settings.trials, "trials") as bar,
    ):
        study = Study(task, record, executor, work)
        for best in best_so_far(_log_and_collect(stage, study, settings, ended), settings):
            _show_progress(bar, stage.name, ended, best or study.leader)
            bar.advance(1, earlier=record.final_state(ended[-1].number) is not None)
    record.release()
    plots.mkdir(parents=True, exist_ok=True)  # DVC expects it even if nothing was searched
    trials = sorted(ended, key=lambda trial: trial.number)
    best = best_of(trials, settings) if trials else None
    shares, epochs = importances(study.optuna_study, settings) if best else ({}, 0)
    result = StudyResult(trials, best, shares)
    write_trials(stage, result, settings)
    if result.best is not None:
        with draw_in_background():
            _plot(plots, settings, result, result.best)
            if shares:
                objective = next(iter(settings.objectives))
                plot_importances(plots / "importances.png", shares, objective, epochs)
    return result


def _open_record(stage: StageContext, section: str, settings: StudyParams) -> StudyRecord:
    """Open the record of the study, and print whether it is resumed, extended or new."""
    folder = study_folder(stage.project, stage.name, section, stage.params)
    others = [other for other in folder.parent.glob(f"{stage.name}-*") if other != folder]
    similar = similar_studies(folder)
    record = StudyRecord(folder, list(settings.objectives.values()), similar)
    if len(record):
        note(f"{stage.name}: resuming the study with {len(record)} trials in {record.path}")
    elif similar:
        note(f"{stage.name}: reusing the trials of {', '.join(map(str, similar))}")
    elif others:
        note(
            f"{stage.name}: starting a new study, because the search space, the dataset or the "
            f"code changed; earlier studies in {folder.parent}: {len(others)}"
        )
    return record


def _splits(stage: StageContext, settings: StudyParams) -> list[Split]:
    """Return the indices of the images of every trial, one entry per fold."""
    labels = stage.load_split("train").labels
    selected = None
    if settings.max_train_images < len(labels):
        selected = stratified_sample(labels, settings.max_train_images, stage.seed)
    if settings.folds is None:
        return [(selected, None)]
    if selected is None:
        selected = torch.arange(len(labels))
    folds = stratified_folds(labels[selected], settings.folds, stage.seed)
    return [(selected[train], selected[held_out]) for train, held_out in folds]


def _log_and_collect(
    stage: StageContext, study: Study, settings: StudyParams, ended: list[Trial]
) -> Iterator[Trial]:
    """Run the study; log each trial when it ends, append it to `ended` and yield it."""
    for trial in study.trials():
        ended.append(trial)
        _log_trial(stage, trial, list(settings.objectives))
        yield trial


def _log_trial(stage: StageContext, trial: Trial, objectives: list[str]) -> None:
    """Log a trial as a nested run: its values, learning curves, results and state."""
    error = trial.reason if trial.state == FAILED else None
    with stage.run.nested(f"trial {trial.number}", "trial", error, trial.times) as child:
        child.log_params(trial.values)
        child.set_tags({"state": trial.state})
        if trial.state == PRUNED:
            child.set_tags({"reason": trial.reason})
        for record, ended in zip(trial.history, trial.times[1:], strict=True):
            child.log_epoch(record, ended)
        if trial.outcomes:
            seconds = sum(outcome.seconds for outcome in trial.outcomes)
            metrics = {"seconds": seconds, "parameters": trial.parameters}
            # metrics of an epoch, such as validation/mse, are in the learning curves
            metrics |= {
                name: result
                for name, result in zip(objectives, trial.results, strict=False)
                if "/" not in name
            }
            child.log_metrics(metrics, step=len(trial.history))


def _show_progress(bar: Bar, name: str, ended: list[Trial], best: Trial | None) -> None:
    text = f"{name}: {sum(trial.state == PRUNED for trial in ended)} pruned"
    if best is not None:
        epoch = "" if best.state == COMPLETE else f" at epoch {len(best.history)}"
        text += f", best {best.results[0]:.4g}{epoch} (trial {best.number})"
    bar.describe(text)


def write_trials(stage: StageContext, result: StudyResult, settings: StudyParams | None) -> None:
    """Write `trials.csv`; without a study the table has no rows."""
    rows = [_row(trial, settings) for trial in result.trials] if settings else []
    stage.write_table("trials.csv", rows or [{"number": ""}])


def _row(trial: Trial, settings: StudyParams) -> dict[str, Any]:
    results: list[Any] = trial.results or [""] * len(settings.objectives)
    return {
        "number": trial.number,
        "state": trial.state,
        "epochs": trial.epochs,
        "parameters": trial.parameters,
        **dict(zip(settings.objectives, results, strict=True)),
        **{path: json.dumps(value) for path, value in trial.values.items()},
        "reason": trial.reason,
    }


def _plot(folder: Path, settings: StudyParams, result: StudyResult, best: Trial) -> None:
    """Draw the trials of a study."""
    trials, objectives = result.trials, list(settings.objectives)
    objective = objectives[0]
    plot_trials(folder / "trials.png", trials, objective, list(best_so_far(trials, settings)))
    metric = objective if "/" in objective else "validation/loss"
    plot_learning_curves(folder / "learning_curves.png", trials, metric, best)
    plot_slices(folder / "slices.png", trials, objective)
    plot_parallel_coordinates(folder / "parallel.png", trials, objective)
    if len(objectives) > 1:
        front = pareto_front(trials, settings)
        plot_pareto_front(folder / "front.png", trials, front, best, objectives)
