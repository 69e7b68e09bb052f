"""`latentlab search --status`: how far a study is, read from its record while it runs or later."""

import json
import socket
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from latentlab.parallel import is_alive
from latentlab.search.record import NAME, NAMES
from latentlab.search_params import StudyParams


def read_status(folder: Path, settings: StudyParams) -> dict[str, Any]:
    """The state of the study in `folder`: "none", "running", "interrupted" or "complete".

    With it the number of trials in each state, the number wanted, and the best so far.
    """
    path = folder / "study.db"
    if not path.is_file():
        return {"state": "none", "wanted": settings.trials, "path": str(path)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{path}")
    trials = study.get_trials(deepcopy=False)
    counts = {name: sum(t.state == state for t in trials) for state, name in NAMES.items()}
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    driver = study.user_attrs.get("driver")
    if driver and (driver["host"] != socket.gethostname() or is_alive(driver["pid"])):
        state = "running"
    else:
        state = "complete" if len(trials) - running >= settings.trials else "interrupted"
    status = {"state": state, "wanted": settings.trials, **counts, "under way": running}
    best = study.best_trials
    if best:
        status["best"] = [_described(trial, settings) for trial in best]
    return status | {"path": str(path)}


def print_status(name: str, status: dict[str, Any]) -> None:
    """Say it in words, on stdout."""
    if status["state"] == "none":
        print(f"{name}: no study yet of this space, these data and this code ({status['path']})")
        return
    counts = ", ".join(f"{status[each]} {each}" for each in (*NAMES.values(), "under way"))
    print(f"{name}: {status['state']}; of {status['wanted']} trials {counts}")
    for trial in status.get("best", []):
        results = ", ".join(f"{each} {value:.6g}" for each, value in trial["results"].items())
        print(f"best: trial {trial['number']}, {results}")
        for path, value in trial["values"].items():
            print(f"  {path}: {json.dumps(value)}")
    print(f"record: {status['path']}")


def _described(trial: FrozenTrial, settings: StudyParams) -> dict[str, Any]:
    return {
        "number": trial.number,
        "results": dict(zip(settings.objectives, trial.values, strict=True)),
        "values": trial.user_attrs["values"],
    }
