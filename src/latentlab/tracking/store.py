"""The MLflow store: `MLFLOW_TRACKING_URI`, or else MLflow's default in the repository root.

The default is the database `mlflow.db` with artifacts in `mlruns/`. Each dataset has an experiment
`latentlab/<dataset>`.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from typing import TYPE_CHECKING

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import is_alive
from latentlab.common.project import Project
from latentlab.tracking.local_store import (
    adopt_artifacts,
    artifacts,
    creation_lock,
    database,
    default_uri,
)
from latentlab.tracking.view import view_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reads these when it is imported; the pipeline works offline and never loads pickles
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# notice within seconds instead of minutes that a server does not answer; the recorder tries again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

EXPERIMENT_TAGS = {
    # the UI opens the view for model training instead of the one for language models
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "validation/mse",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "false",
}
"""Tags with which MLflow's UI shows an experiment as one of trainings."""

MAX_RUNS_COUNTED = 1000

SECONDS_TO_ANSWER = 2.5
"""How long a tracking server may take to answer before a stage starts."""


def store_uri(project: Project) -> str:
    """Return the URI of the tracking store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri(project)


def server_of(project: Project) -> str | None:
    """Return the address of the tracking server without a password, or None if there is none."""
    uri = store_uri(project)
    if not uri.startswith(("http:", "https:")):
        return None
    return re.sub("//[^/@]*@", "//", uri)


def check_server(project: Project) -> None:
    """Raise EnvironmentProblem if the store is a server that does not answer within seconds."""
    server = server_of(project)
    if server is None:
        return
    import requests

    uri = store_uri(project)

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER)
    except requests.RequestException as error:
        raise EnvironmentProblem(
            f"the MLflow server {server} does not answer ({type(error).__name__}). Start it, or "
            "unset MLFLOW_TRACKING_URI to use the store of the repository"
        ) from error


def connect(project: Project, experiment: str) -> str:
    """Select the store and return the id of an experiment, which is created if it is missing.

    The default store is created if it is missing, also if several processes do so at once.
    """
    import mlflow

    _silence_logs()
    uri = store_uri(project)
    mlflow.set_tracking_uri(uri)
    # a server chooses its own location; with SQLite, artifacts are in the repository
    location = artifacts(project).as_uri() if uri.startswith("sqlite:") else None
    if uri != default_uri(project):
        return _get_or_create(experiment, location)
    with creation_lock(project):
        adopt_artifacts(project)
        return _get_or_create(experiment, location)


def _get_or_create(experiment: str, artifact_location: str | None) -> str:
    """Return the id of an experiment; without `artifact_location` the store chooses one."""
    import mlflow

    client = mlflow.MlflowClient()
    existing = client.get_experiment_by_name(experiment)
    if existing is not None:
        if existing.lifecycle_stage == "deleted":
            client.restore_experiment(existing.experiment_id)
        # settings that users changed are kept
        for key, value in (EXPERIMENT_TAGS | existing.tags | view_tags()).items():
            if existing.tags.get(key) != value:
                client.set_experiment_tag(existing.experiment_id, key, value)
        return str(existing.experiment_id)
    tags = EXPERIMENT_TAGS | view_tags()
    return str(client.create_experiment(experiment, artifact_location, tags=tags))


def open_client(project: Project) -> MlflowClient | None:
    """Return a client of the store, or None if the default store has not been created yet."""
    uri = store_uri(project)
    if uri == default_uri(project) and not database(project).exists():
        return None
    import mlflow

    _silence_logs()
    return mlflow.MlflowClient(uri)


def end_abandoned_runs(experiment: str) -> None:
    """Mark runs as KILLED that are RUNNING although their process on this host is gone."""
    import mlflow

    client = mlflow.MlflowClient()
    host = f"tags.host = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], host):
        tags = run.data.tags
        if not is_alive(int(tags["pid"]), float(tags["started"])):
            client.set_tag(run.info.run_id, "reason", "its process was killed")
            client.set_terminated(run.info.run_id, "KILLED")


def count_runs(project: Project) -> int:
    """Return the number of runs in the store, at most 1,000.

    Raises EnvironmentProblem if the store cannot be used.
    """
    check_server(project)
    try:
        client = open_client(project)
        if client is None:
            return 0
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return (
            len(client.search_runs(experiments, max_results=MAX_RUNS_COUNTED)) if experiments else 0
        )
    except Exception as error:
        raise EnvironmentProblem(brief(error)) from error


def is_transient(error: BaseException) -> bool:
    """Return whether an error of MLflow means that a server does not answer or is overloaded."""
    from mlflow import MlflowException
    from requests import HTTPError, RequestException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
    elif isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, RequestException | ConnectionError | TimeoutError)
    return status >= 500 or status in (408, 429)


def brief(error: BaseException) -> str:
    """Return the first informative line of an error, or its type if it has no text."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    # SQLAlchemy may start with a line on its own internals
    informative = [line for line in lines if not line.startswith("(raised as a result of")]
    return (informative or lines or [type(error).__name__])[0].strip()[:500]


def _silence_logs() -> None:
    """Hide the logs of MLflow and its migrations; their errors are raised as exceptions anyway."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
