"""A study as part of a stage: shown, told to MLflow, kept as a table and pictures."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentlab.common.files import write_csv
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
    plot_front,
    plot_importances,
    plot_learning_curves,
    plot_parallel,
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
    """The trials of a study in the order of their numbers, and the one that was chosen."""

    trials: list[Trial]
    best: Trial | None

    @property
    def values(self) -> dict[str, Any]:
        """What the chosen trial drew, by the paths of parameters."""
        return self.best.values if self.best else {}

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` says of the study."""
        states = (COMPLETE, PRUNED, FAILED)
        counts = {state: sum(t.state == state for t in self.trials) for state in states}
        return {
            "trials": counts | {"total": len(self.trials)},
            "epochs": sum(trial.epochs for trial in self.trials),
        }


def trial_params(params: Params, section: str, epochs: int, values: dict[str, Any]) -> Params:
    """The parameters with the values of a trial in `section`, and the budget of one.

    ValueError says what is wrong with values that do not go together.
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
    """Run the study that `section` of the parameters describes, or go on with it.

    Writes `trials.csv` to the folder of the stage, and pictures to `plots`.
    """
    folder = study_folder(stage.project, stage.name, section, stage.params)
    earlier = [other for other in folder.parent.glob(f"{stage.name}-*") if other != folder]
    similar = similar_studies(folder)
    record = StudyRecord(folder, list(settings.objectives.values()), similar)
    if len(record):
        note(f"{stage.name}: goes on with the {len(record)} trials of {record.path}")
    elif similar:
        note(f"{stage.name}: takes what was trained in {', '.join(map(str, similar))}")
    elif earlier:
        note(
            f"{stage.name}: a new study, because its space, its data or the code changed; "
            f"{folder.parent} keeps the {len(earlier)} earlier"
        )
    task = Task(
        settings=settings,
        candidate=candidate,
        splits=_splits(stage, settings),
        data_dir=stage.project.outputs("fetch"),
        seed=stage.seed,
        device=str(stage.device),
        checkpoints=folder / "checkpoints",
    )
    stage.checkpoints.mkdir(parents=True, exist_ok=True)  # a mark: the run is to be continued
    steered = stage.params.search  # where it runs is the same for every study
    with (
        open_executor(steered, task.device, task.data_dir) as (executor, work),
        progress_bar(stage.name, settings.trials, "trials") as bar,
    ):
        study = Study(task, record, executor, work)
        ended: list[Trial] = []
        for best in best_so_far(_told(stage, study, list(settings.objectives), ended), settings):
            _show(bar, stage.name, ended, best or study.leader)
            bar.advance(1, earlier=record.ended(ended[-1].number) is not None)
    record.release()
    plots.mkdir(parents=True, exist_ok=True)  # also where nothing is searched
    trials = sorted(ended, key=lambda trial: trial.number)
    found = StudyResult(trials, best_of(trials, settings) if trials else None)
    write_trials(stage, found, settings)
    if found.best is not None:
        with draw_in_background():
            _plot(plots, settings, found.trials, found.best, study)
    return found


def _splits(stage: StageContext, settings: StudyParams) -> list[Split]:
    """The images of every trial; those of the test split are not among them."""
    labels = stage.load_split("train").labels
    chosen = None
    if settings.max_train_images < len(labels):
        chosen = stratified_sample(labels, settings.max_train_images, stage.seed)
    if settings.folds is None:
        return [(chosen, None)]
    if chosen is None:
        chosen = torch.arange(len(labels))
    folds = stratified_folds(labels[chosen], settings.folds, stage.seed)
    return [(chosen[kept], chosen[held_out]) for kept, held_out in folds]


def _told(
    stage: StageContext, study: Study, objectives: list[str], ended: list[Trial]
) -> Iterator[Trial]:
    """The trials as they end, each told to MLflow and added to `ended`."""
    for trial in study.trials():
        ended.append(trial)
        _log_trial(stage, trial, objectives)
        yield trial


def _log_trial(stage: StageContext, trial: Trial, objectives: list[str]) -> None:
    """A nested run with the values, the curve, the results, the state and its reason."""
    fault = trial.reason if trial.state == FAILED else None
    with stage.run.nested(f"trial {trial.number}", fault) as child:
        child.log_params(trial.values | {"state": trial.state, "reason": trial.reason})
        for record in trial.history:
            child.log_epoch(record)
        if trial.outcomes:
            seconds = sum(outcome.seconds for outcome in trial.outcomes)
            figures = {"seconds": seconds, "parameters": trial.parameters}
            # what an epoch has is in its curve
            figures |= {
                name: result
                for name, result in zip(objectives, trial.results, strict=False)
                if "/" not in name
            }
            child.log_metrics(figures, step=len(trial.history))


def _show(bar: Bar, name: str, ended: list[Trial], best: Trial | None) -> None:
    words = f"{name}: {sum(trial.state == PRUNED for trial in ended)} pruned"
    if best is not None:
        so_far = "" if best.state == COMPLETE else f" at epoch {len(best.history)}"
        words += f", best {best.results[0]:.4g}{so_far} (trial {best.number})"
    bar.say(words)


def write_trials(stage: StageContext, found: StudyResult, settings: StudyParams | None) -> None:
    """Write the table of trials; where there was no study it is empty."""
    table = stage.output / "trials.csv"
    rows = [_row(trial, settings) for trial in found.trials] if settings else []
    write_csv(table, rows or [{"number": ""}])
    stage.run.log_files(table)


def _plot(
    folder: Path, settings: StudyParams, trials: list[Trial], best: Trial, study: Study
) -> None:
    """Draw a picture for each question that one asks of a study."""
    objectives = list(settings.objectives)
    objective = objectives[0]
    plot_trials(folder / "trials.png", trials, objective, list(best_so_far(trials, settings)))
    curve = objective if "/" in objective else "validation/loss"
    plot_learning_curves(folder / "learning_curves.png", trials, curve, best)
    plot_slices(folder / "slices.png", trials, objective)
    plot_parallel(folder / "parallel.png", trials, objective)
    if len(objectives) > 1:
        plot_front(folder / "front.png", trials, pareto_front(trials, settings), best, objectives)
    found, epochs = importances(study.view, settings)
    if found:
        judged = f"{objective} after {epochs} epoch{'s' if epochs > 1 else ''}"
        plot_importances(folder / "importances.png", found, judged)


def _row(trial: Trial, settings: StudyParams) -> dict[str, Any]:
    results = trial.results or [""] * len(settings.objectives)
    return {
        "number": trial.number,
        "state": trial.state,
        "epochs": trial.epochs,
        "parameters": trial.parameters,
        **dict(zip(settings.objectives, results, strict=True)),
        **{path: json.dumps(value) for path, value in trial.values.items()},
        "reason": trial.reason,
    }
