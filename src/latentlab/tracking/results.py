"""The metrics of an earlier run in the MLflow store, and the verdict of the gate on runs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.files import read_json
from latentlab.common.project import Project
from latentlab.evaluation.examples import EXAMPLES, Examples, read_examples
from latentlab.params.fields import flatten
from latentlab.tracking.queries import STAGE_RUNS, search_runs
from latentlab.tracking.store import brief, check_server, open_client, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN, MODEL = "run:", "models:/"
"""Beginnings of the addresses of a run, and of the registered version of a model."""
VERDICT, CHANGES = "gate", "gate.changes"
"""Tags of a run: the verdict in one line, and one line per metric that became worse or better."""

MAX_LENGTH = 5000
"""Longest text of a tag that every MLflow store accepts."""


@dataclass(frozen=True)
class LoggedResults:
    """The metrics of a run, named `<stage>/<split>/<metric>`, its tags, and results per image."""

    metrics: dict[str, Any]
    tags: dict[str, str]
    examples: Examples | None


def find_results(project: Project, address: str) -> LoggedResults:
    """Return the metrics of `run:<id>`, or of the run that evaluated `models:/<name>@<alias>`.

    A version is also addressed by `models:/<name>/<version>`. Raises ParamsError if there is no
    such run, or if it has no metrics.
    """
    check_server(project)
    client = open_client(project)
    if client is None:
        raise ParamsError(f"{address}: there is no MLflow store at {store_uri(project)}")
    from mlflow import MlflowException

    try:
        run_id = address.removeprefix(RUN)
        if address.startswith(MODEL):
            run_id = _evaluating_run(client, address)
        tags = client.get_run(run_id).data.tags
        with tempfile.TemporaryDirectory() as folder:
            metrics = read_json(Path(client.download_artifacts(run_id, "metrics.json", folder)))
            examples = None
            if any(file.path == EXAMPLES for file in client.list_artifacts(run_id)):
                examples = read_examples(Path(client.download_artifacts(run_id, EXAMPLES, folder)))
    except (MlflowException, OSError) as error:
        raise ParamsError(
            f"{address} has no metrics in {store_uri(project)}: {brief(error)}"
        ) from None
    named = flatten(metrics, f"{tags.get('stage', '')}/", "/")
    return LoggedResults(named, tags, examples)


def _evaluating_run(client: MlflowClient, address: str) -> str:
    """Return the run that evaluated the version of a registered model."""
    name, at, alias = address.removeprefix(MODEL).partition("@")
    if at:
        version = client.get_model_version_by_alias(name, alias)
    else:
        name, _, number = name.partition("/")
        version = client.get_model_version(name, number)
    model = client.get_logged_model(str(version.source).removeprefix(MODEL))
    for metric in model.metrics or []:
        if metric.key.startswith("test/"):
            return str(metric.run_id)
    raise ParamsError(f"{address} was not evaluated; run `dvc repro evaluate` with this model")


def tag_verdict(
    project: Project, dataset: str, outputs_hash: str, summary: str, changes: list[str]
) -> int:
    """Tag the runs of `evaluate` that wrote outputs with this hash; return how many there are.

    Raises EnvironmentProblem if the store cannot be used.
    """
    client = open_client(project)
    if client is None:
        return 0
    from mlflow import MlflowException

    wrote_them = f"{STAGE_RUNS} and tags.outputs_hash = '{outputs_hash}'"
    runs = [run for run in search_runs(project, dataset, wrote_them) if run.stage == "evaluate"]
    try:
        for run in runs:
            client.set_tag(run.id, VERDICT, summary[:MAX_LENGTH])
            client.set_tag(run.id, CHANGES, "\n".join(changes)[:MAX_LENGTH])
    except MlflowException as error:
        raise EnvironmentProblem(
            f"the MLflow store {store_uri(project)} cannot be used: {brief(error)}"
        ) from error
    return len(runs)
