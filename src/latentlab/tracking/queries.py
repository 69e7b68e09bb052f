"""Questions about the runs in the MLflow store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.project import Project
from latentlab.tracking.store import brief, check_server, open_client, store_uri

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

STAGE_RUNS = "tags.kind = 'stage'"
"""MLflow's filter for the runs of stages, without their nested runs."""

NEWEST_FIRST = "attributes.start_time DESC"

MAX_RUNS = 50_000
"""The most runs that MLflow returns at once."""


@dataclass(frozen=True)
class LoggedRun:
    """A run in the store. `started` is an ISO 8601 time and `seconds` None until the run ends."""

    id: str
    name: str
    stage: str
    status: str
    started: str
    seconds: float | None
    commit: str
    dirty: bool
    fingerprint: str
    outputs_hash: str
    metrics: dict[str, float]

    @classmethod
    def of(cls, run: MlflowRun) -> LoggedRun:
        """Convert a run of MLflow."""
        info, tags = run.info, run.data.tags
        return cls(
            info.run_id,
            info.run_name,
            tags.get("stage", ""),
            info.status,
            datetime.fromtimestamp(info.start_time / 1000, UTC).isoformat(timespec="seconds"),
            (info.end_time - info.start_time) / 1000 if info.end_time else None,
            tags.get("git_commit", ""),
            tags.get("git_dirty") == "true",
            tags.get("fingerprint", ""),
            tags.get("outputs_hash", ""),
            run.data.metrics,
        )


def search_runs(
    project: Project,
    dataset: str,
    expression: str = STAGE_RUNS,
    order_by: str = NEWEST_FIRST,
    limit: int = MAX_RUNS,
) -> list[LoggedRun]:
    """Return the runs of a dataset that match an expression of MLflow's search syntax.

    Returns no runs if there is no store. Raises ParamsError if MLflow rejects the expression, and
    EnvironmentProblem if the store cannot be used.
    """
    check_server(project)
    client = open_client(project)
    if client is None:
        return []
    from mlflow import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode

    try:
        experiment = client.get_experiment_by_name(f"latentlab/{dataset}")
        if experiment is None:
            return []
        runs = client.search_runs([experiment.experiment_id], expression, 1, limit, [order_by])
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(INVALID_PARAMETER_VALUE):
            raise ParamsError(
                f"MLflow rejects the filter or the order: {brief(error)}. See `latentlab runs "
                "--help` for examples"
            ) from None
        raise EnvironmentProblem(
            f"the MLflow store {store_uri(project)} cannot be used: {brief(error)}"
        ) from error
    return [LoggedRun.of(run) for run in runs]


def list_runs(
    project: Project,
    dataset: str,
    expression: str | None,
    sort: str | None,
    limit: int,
    nested: bool,
) -> list[LoggedRun]:
    """Return the runs of stages, with `nested` also those within them, by default newest first.

    `expression` is in MLflow's search syntax. `sort` is a name, or `-name` to begin with the
    largest value. Raises the errors of `search_runs`.
    """
    conditions = [*([] if nested else [STAGE_RUNS]), *([expression] if expression else [])]
    order = _order_of(sort) if sort else NEWEST_FIRST
    return search_runs(project, dataset, " and ".join(conditions), order, limit)


def _order_of(sort: str) -> str:
    """Return MLflow's order: metrics have a slash in their names, and parameters a dot."""
    name = sort.removeprefix("-")
    kind = "metrics" if "/" in name else "params" if "." in name else "attributes"
    return f"{kind}.`{name}` {'DESC' if sort.startswith('-') else 'ASC'}"
