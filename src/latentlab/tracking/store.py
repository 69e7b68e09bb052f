"""Where the runs are: MLflow's own default at the root, or what `MLFLOW_TRACKING_URI` names.

Experiments are called `latentlab/<dataset>`; artifacts of the default store are in `mlruns/`.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import is_alive, this_process
from latentlab.common.project import Project

# read by MLflow when it is imported; a pipeline that runs offline phones nobody
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# a server that is not there is said within seconds, not minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

MOST_COUNTED = 1000


def store_uri(project: Project) -> str:
    """The tracking store: what `MLFLOW_TRACKING_URI` says, else MLflow's default at the root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.home / 'mlflow.db'}"


def connect(project: Project, experiment: str) -> str:
    """Choose the store and return the experiment's id, made if it is new."""
    import mlflow

    _quieten()
    uri = store_uri(project)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    # a server knows where its artifacts belong; our own store keeps them beside the database
    artifacts = (project.home / "mlruns").as_uri() if uri.startswith("sqlite:") else None
    # opens on the view for training, not the one for language models
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.create_experiment(experiment, artifact_location=artifacts, tags=kind)


def process_tags() -> dict[str, Any]:
    """Who records a run, for `end_abandoned_runs` to see whether it still does."""
    return {name: str(value) for name, value in this_process().items()}


def end_abandoned_runs(experiment: str) -> None:
    """End as KILLED what a process on this host left RUNNING when it was killed outright."""
    import mlflow

    client = mlflow.MlflowClient()
    host = f"tags.host = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], host):
        tags = run.data.tags
        if not is_alive(int(tags["pid"]), float(tags["started"])):
            client.set_tag(run.info.run_id, "reason", "its process was killed")
            client.set_terminated(run.info.run_id, "KILLED")


def count_runs(project: Project) -> int:
    """Number of runs in the store, at most 1,000; EnvironmentProblem where it cannot be used."""
    import mlflow

    _quieten()
    uri = store_uri(project)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (project.home / "mlflow.db").exists():
        return 0
    try:
        client = mlflow.MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return len(client.search_runs(experiments, max_results=MOST_COUNTED)) if experiments else 0
    except Exception as fault:
        raise EnvironmentProblem(brief(fault)) from fault


def brief(fault: BaseException) -> str:
    """The first line of an error that tells a cause, or its name where it says nothing."""
    lines = [line for line in str(fault).splitlines() if line.strip()]
    # SQLAlchemy says first what it was about, in brackets
    telling = [line for line in lines if not line.startswith("(raised as a result of")]
    return (telling or lines or [type(fault).__name__])[0].strip()[:500]


def _quieten() -> None:
    """What MLflow and its migrations log is not for people: their errors are raised as well."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
