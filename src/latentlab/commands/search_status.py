"""`latentlab search --status`: how far a study is, read from its record while it runs or later."""

import json
import socket
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from latentlab.common.processes import is_alive
from latentlab.params.studies import StudyParams
from latentlab.pipeline.fingerprint import similar_studies
from latentlab.search.objectives import SIGNS, pareto_front
from latentlab.search.record import NAME, NAMES, guarded, open_storage
from latentlab.search.trial import COMPLETE, RUNNING, Trial


def read_status(folder: Path, settings: StudyParams) -> dict[str, Any]:
    """The state of the study in `folder`: "none", "running", "interrupted" or "complete".

    With it the number of trials in each state, the number wanted, and the best so far: of those
    that are complete, or else the `leader` of what is under way; and the `host` of a driver
    elsewhere, which counts as running, for that cannot be seen from here. Where there is no study
    yet, those `like it` differ from it in their number of trials alone.
    """
    path = folder / "study.db"
    wanted = settings.trials if settings.space else 0
    if not path.is_file() or not path.stat().st_size:
        others = [str(other / "study.db") for other in similar_studies(folder)]
        return {"state": "none", "wanted": wanted, "like it": others, "path": str(path)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with guarded(path):
        study = optuna.load_study(study_name=NAME, storage=open_storage(path))
        driver = study.user_attrs.get("driver")
        entries = study.get_trials(deepcopy=False)
    trials = [_read(trial) for trial in entries]
    counts = {name: sum(trial.state == name for trial in trials) for name in NAMES.values()}
    elsewhere = driver is not None and driver["host"] != socket.gethostname()
    if elsewhere or (driver and is_alive(driver["pid"], driver.get("started"))):
        state = "running"
    else:
        state = "complete" if sum(counts.values()) >= wanted else "interrupted"
    status = {"state": state, "wanted": wanted, **counts}
    if elsewhere:
        status["host"] = driver["host"]
    status["under way"] = len(trials) - sum(counts.values())
    if front := pareto_front(trials, settings):
        status["best"] = [_described(trial, settings) for trial in front]
    elif leader := _leader(entries, settings):
        status["leader"] = leader
    return status | {"path": str(path)}


def _read(trial: FrozenTrial) -> Trial:
    state = NAMES.get(trial.state, RUNNING)
    values = trial.user_attrs["values"]
    results = trial.values if state == COMPLETE else None
    return Trial(trial.number, values, trial.params, state, results=results or [])


def _leader(entries: list[FrozenTrial], settings: StudyParams) -> dict[str, Any] | None:
    """The best of the trials under way that have been trained for most epochs."""
    sign = SIGNS[next(iter(settings.objectives.values()))]
    reached = [
        (-epoch, sign * result, entry.number, result)
        for entry in entries
        if not entry.state.is_finished()
        for epoch, result in entry.intermediate_values.items()
    ]
    if not reached:
        return None
    epoch, _, number, result = min(reached)
    return {"number": number, "epoch": -epoch, "result": result}


def print_status(name: str, status: dict[str, Any]) -> None:
    """Say it in words, on stdout."""
    if status["state"] == "none":
        print(f"{name}: no study yet of this space, these data and this code ({status['path']})")
        if status["like it"]:
            others = ", ".join(status["like it"])
            print(f"one of {status['wanted']} trials takes what was trained in {others}")
        return
    counts = ", ".join(f"{status[each]} {each}" for each in (*NAMES.values(), "under way"))
    where = f" on {status['host']}, or killed there" if "host" in status else ""
    print(f"{name}: {status['state']}{where}; of {status['wanted']} trials {counts}")
    for trial in status.get("best", []):
        results = ", ".join(f"{each} {value:.6g}" for each, value in trial["results"].items())
        print(f"best: trial {trial['number']}, {results}")
        for path, value in trial["values"].items():
            print(f"  {path}: {json.dumps(value)}")
    if leader := status.get("leader"):
        reached = f"{leader['result']:.6g} at epoch {leader['epoch']}"
        print(f"leads: trial {leader['number']}, {reached}")
    print(f"record: {status['path']}")


def _described(trial: Trial, settings: StudyParams) -> dict[str, Any]:
    results = dict(zip(settings.objectives, trial.results, strict=True))
    return {"number": trial.number, "results": results, "values": trial.values}
