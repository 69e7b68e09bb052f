"""The command `latentlab search --status`: the progress of a study, read from its record."""

import json
import socket
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from latentlab.common.processes import is_alive
from latentlab.common.project import Project
from latentlab.params.schema import Params
from latentlab.params.studies import StudyParams
from latentlab.pipeline.fingerprint import similar_studies, study_folder
from latentlab.search.objectives import SIGNS
from latentlab.search.record import STATE_NAMES, STUDY_NAME, database_errors, open_storage


def print_studies(project: Project, params: Params, as_json: bool) -> None:
    """Print the status of every study, as text or as JSON."""
    studies = read_studies(project, params)
    if as_json:
        print(json.dumps(studies, indent=2))
        return
    for name, status in studies.items():
        print_status(name, status)


def read_studies(project: Project, params: Params) -> dict[str, dict[str, Any]]:
    """Return the status of every study that `params.yaml` describes, by its stage."""
    sections = {
        "search": ("search", params.search),
        "finetune": ("finetune.search", params.finetune.search),
    }
    return {
        stage: read_status(study_folder(project, stage, section, params), settings)
        for stage, (section, settings) in sections.items()
        if settings is not None
    }


def read_status(folder: Path, settings: StudyParams) -> dict[str, Any]:
    """Return the status of the study in `folder`.

    - `state`: "none", "running", "interrupted" or "complete". A study with a driver on another
      machine (`host`) counts as running, because its process is not visible here.
    - `trials`: the number of trials requested; `complete`, `pruned`, `failed` and `running`: the
      number of trials in each state.
    - `best`: the trials on the Pareto front, or `leader`: the best running trial, if none is
      complete.
    - `similar`: if there is no study, the records whose trials it would reuse.
    - `path`: the record.

    Raises EnvironmentProblem if the record cannot be read.
    """
    path = folder / "study.db"
    total = settings.trials if settings.space else 0
    if not path.is_file() or not path.stat().st_size:
        similar = [str(other / "study.db") for other in similar_studies(folder)]
        return {"state": "none", "trials": total, "similar": similar, "path": str(path)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with database_errors(path):
        study = optuna.load_study(study_name=STUDY_NAME, storage=open_storage(path))
        driver: dict[str, Any] | None = study.user_attrs.get("driver")
        trials = study.get_trials(deepcopy=False)
        best = study.best_trials
    counts = {
        name: sum(trial.state == state for trial in trials) for state, name in STATE_NAMES.items()
    }
    ended = sum(counts.values())
    status: dict[str, Any] = {"state": "complete" if ended >= total else "interrupted"}
    if driver is not None and driver["host"] != socket.gethostname():
        status |= {"state": "running", "host": driver["host"]}
    elif driver is not None and is_alive(driver["pid"], driver.get("started")):
        status["state"] = "running"
    status |= {"trials": total, **counts, "running": len(trials) - ended}
    if best:
        status["best"] = [_describe(trial, settings) for trial in best]
    elif leader := _leader(trials, settings):
        status["leader"] = leader
    return status | {"path": str(path)}


def _describe(trial: FrozenTrial, settings: StudyParams) -> dict[str, Any]:
    results = dict(zip(settings.objectives, trial.values, strict=True))
    return {"number": trial.number, "results": results, "values": trial.user_attrs["values"]}


def _leader(trials: list[FrozenTrial], settings: StudyParams) -> dict[str, Any] | None:
    """Return the best of the running trials that have reached the highest rung."""
    sign = SIGNS[next(iter(settings.objectives.values()))]
    results = [
        (-epoch, sign * result, trial.number, result)
        for trial in trials
        if not trial.state.is_finished()
        for epoch, result in trial.intermediate_values.items()
    ]
    if not results:
        return None
    epoch, _, number, result = min(results)
    return {"number": number, "epoch": -epoch, "result": result}


def print_status(name: str, status: dict[str, Any]) -> None:
    """Print the status of the study `name` as text."""
    if status["state"] == "none":
        print(
            f"{name}: no study found for this search space, dataset and code version "
            f"({status['path']})"
        )
        if status["similar"]:
            similar = ", ".join(status["similar"])
            print(f"{name}: {status['trials']} trials would reuse the trials of {similar}")
        return
    counts = ", ".join(f"{status[each]} {each}" for each in (*STATE_NAMES.values(), "running"))
    host = f" on {status['host']} (or killed there)" if "host" in status else ""
    print(f"{name}: {status['state']}{host}; {status['trials']} trials: {counts}")
    for trial in status.get("best", []):
        results = ", ".join(f"{each} {value:.6g}" for each, value in trial["results"].items())
        print(f"best: trial {trial['number']}, {results}")
        for path, value in trial["values"].items():
            print(f"  {path}: {json.dumps(value)}")
    if leader := status.get("leader"):
        result = f"{leader['result']:.6g} at epoch {leader['epoch']}"
        print(f"leader: trial {leader['number']}, {result}")
    print(f"record: {status['path']}")
