"""Tags with the verdict of the gate on the runs that produced the outputs."""

from __future__ import annotations

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.project import Project
from latentlab.tracking.queries import STAGE_RUNS, search_runs
from latentlab.tracking.store import brief, open_client, store_uri

VERDICT, CHANGES = "gate", "gate.changes"
"""Tags of a run: the verdict in one line, and one line per metric that became worse or better."""

MAX_LENGTH = 5000
"""Longest text of a tag that every MLflow store accepts."""


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
