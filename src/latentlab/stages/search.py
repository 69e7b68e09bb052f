"""search: an Optuna study over the ranges in `search.space`."""

import json
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from latentlab.files import write_csv, write_text
from latentlab.plots.search import plot_trials
from latentlab.progress import progress_bar
from latentlab.search.study import Trial, best_of, run_study
from latentlab.stages.stage import Stage

STATES = ("complete", "pruned", "failed")


def run(stage: Stage) -> None:
    """Write `best_params.yaml`, which `train` reads, and the table and picture of the trials."""
    info = stage.load_info()
    settings = stage.params
    stage.run.log_params({"search": settings.search.tree()})
    study = run_study(
        settings,
        info,
        stage.load_split("train"),
        stage.load_split("validation"),
        stage.device,
    )
    trials: list[Trial] = []
    with progress_bar(stage.name, settings.search.trials, "trials") as bar:
        for trial in study:
            trials.append(trial)
            _log_trial(stage, trial)
            bar.advance(1)

    best = best_of(trials) if trials else None
    write_text(stage.output / "best_params.yaml", _as_yaml(best.values if best else {}))
    write_csv(stage.output / "trials.csv", [_row(trial) for trial in trials] or [{"number": ""}])
    stage.plots.mkdir(parents=True, exist_ok=True)
    if trials:
        plot_trials(stage.plots / "trials.png", trials)
    counts = {state: sum(t.state == state for t in trials) for state in STATES}
    metrics: dict[str, Any] = {"trials": counts | {"total": len(trials)}}
    if best:
        stage.run.log_params({"best": best.values})
        metrics |= {"best_trial": best.number, "validation": {"loss": best.validation_loss}}
    stage.run.log_files(stage.output / "trials.csv")
    stage.write_metrics(metrics)


def _log_trial(stage: Stage, trial: Trial) -> None:
    """A nested run with the values, the curve, the state and its reason."""
    with stage.run.nested(f"trial {trial.number}") as child:
        child.log_params(trial.values | {"state": trial.state, "reason": trial.reason})
        for record in trial.history:
            child.log_epoch(record)


def _row(trial: Trial) -> dict[str, Any]:
    values = {path: json.dumps(value) for path, value in trial.values.items()}
    loss = trial.validation_loss if trial.history else ""
    return {"number": trial.number, "state": trial.state, "validation_loss": loss} | values


def _as_yaml(values: dict[str, Any]) -> str:
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.dump(values, text)
    return text.getvalue()
