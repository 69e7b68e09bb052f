"""MLflow: the only module that knows it.

One run per stage execution, in the experiment `latentlab/<dataset>`. The store is MLflow's own
default at the repository root (`mlflow.db`, `mlruns/`) unless `MLFLOW_TRACKING_URI` names another.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from latentlab.errors import EnvironmentProblem
from latentlab.params import flatten
from latentlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from latentlab.data.image_set import DatasetInfo

# read by MLflow when it is imported; a pipeline that runs offline phones nobody
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")


class Run:
    """A live MLflow run."""

    def __init__(self, run_id: str, experiment: str) -> None:
        self.id = run_id
        self._experiment = experiment

    def log_params(self, params: dict[str, Any]) -> None:
        """Log a nested mapping as dotted parameters."""
        import mlflow

        mlflow.log_params(flatten(params))

    def log_epoch(self, record: dict[str, float]) -> None:
        """Log the record of one epoch, with the epoch as its step."""
        import mlflow

        step = int(record["epoch"])
        mlflow.log_metrics({k: v for k, v in record.items() if k != "epoch"}, step=step)

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Log nested figures under names such as `test/mse`.

        MLflow shows the value of the latest step: `step` is the last epoch, so that the figure of
        the model that was kept stands in the table.
        """
        import mlflow

        figures = {name.replace(".", "/"): value for name, value in flatten(metrics).items()}
        mlflow.log_metrics(figures, step=step)

    def log_files(self, path: Path) -> None:
        """Keep a file, or a folder under its name, among the run's artifacts."""
        import mlflow

        if path.is_dir():
            mlflow.log_artifacts(str(path), path.name)
        else:
            mlflow.log_artifact(str(path))

    def log_dataset(self, info: DatasetInfo) -> None:
        """Log what the run read: name, digest, sizes."""
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        mlflow.set_tags({"dataset": info.name, "data_hash": info.digest})
        mlflow.log_params({f"dataset.{split}": size for split, size in info.sizes.items()})
        source = CodeDatasetSource(tags={"files": ", ".join(info.sha256)})
        # MLflow takes digests of at most 36 characters
        mlflow.log_input(MetaDataset(source, name=info.name, digest=info.digest[:36]), "training")

    def log_model(self, model: nn.Module, example: Tensor) -> None:
        """Log a network as an exported program, loadable and servable without this package.

        `example` is a batch of at least two inputs; the batch size stays free.
        """
        import mlflow.pytorch
        import numpy as np
        import torch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        # exported weights must lie in memory in their plain order
        model = model.cpu().eval().to(memory_format=torch.contiguous_format)
        with torch.inference_mode():
            output = model(example)

        def spec(tensor: Tensor) -> Schema:
            return Schema([TensorSpec(np.dtype("float32"), (-1, *tensor.shape[1:]))])

        mlflow.pytorch.log_model(
            model,
            name="model",
            input_example=example.numpy(),
            signature=ModelSignature(spec(example), spec(output)),
            # given, because MLflow otherwise starts a slow process to guess them
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "numpy", "pandas"],
        )

    @contextmanager
    def child(self, name: str) -> Iterator[Run]:
        """A nested run, in the same experiment."""
        import mlflow

        with mlflow.start_run(
            run_name=name, nested=True, experiment_id=self._experiment, tags=_process()
        ) as active:
            yield Run(active.info.run_id, self._experiment)


@contextmanager
def track(project: Project, stage: str, dataset: str, tags: dict[str, Any]) -> Iterator[Run]:
    """Open the run of a stage; it ends FINISHED, FAILED with the reason, or KILLED.

    Raises EnvironmentProblem where the store cannot be used.
    """
    import mlflow

    _quieten()
    try:
        try:
            run = _start(project, stage, dataset, tags)
        except Exception as fault:
            raise EnvironmentProblem(
                f"the MLflow store {store_uri(project)} cannot be used: {_brief(fault)}; "
                "see `latentlab doctor`"
            ) from fault
        yield run
        mlflow.end_run("FINISHED")
    except BaseException as reason:
        _end_runs("FAILED" if isinstance(reason, Exception) else "KILLED", _brief(reason))
        if isinstance(reason, mlflow.MlflowException):
            raise EnvironmentProblem(
                f"the MLflow store {store_uri(project)} stopped answering: {_brief(reason)}"
            ) from reason
        raise


def _end_runs(status: str, reason: str) -> None:
    """End the run of the stage, and of a child that is still open, if the store lets it."""
    import mlflow

    while mlflow.active_run():
        with suppress(Exception):
            mlflow.set_tag("reason", reason)
        try:
            mlflow.end_run(status)
        except Exception:
            return  # the next stage ends what this process leaves behind


def _start(project: Project, stage: str, dataset: str, tags: dict[str, Any]) -> Run:
    import mlflow

    experiment = _connect(project, f"latentlab/{dataset}")
    _end_abandoned_runs(experiment)
    identity = _git_commit(project) | _process()
    if "DVC_EXP_NAME" in os.environ:
        identity["dvc_exp_name"] = os.environ["DVC_EXP_NAME"]
    active = mlflow.start_run(
        experiment_id=experiment,
        run_name=stage,
        tags={"stage": stage, "dataset": dataset} | identity | tags,
    )
    return Run(active.info.run_id, experiment)


def store_uri(project: Project) -> str:
    """The tracking store: what `MLFLOW_TRACKING_URI` says, else MLflow's default at the root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.home / 'mlflow.db'}"


def _connect(project: Project, experiment: str) -> str:
    """Choose the store and return the experiment's id, made if it is new."""
    import mlflow

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


def _process() -> dict[str, Any]:
    """Who runs this, for `_end_abandoned_runs` to see whether it still does."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _end_abandoned_runs(experiment: str) -> None:
    """End as KILLED what a process on this host left RUNNING when it was killed outright."""
    import mlflow

    client = mlflow.MlflowClient()
    host = f"tags.host = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], host):
        if not _alive(int(run.data.tags["pid"])):
            client.set_tag(run.info.run_id, "reason", "its process was killed")
            client.set_terminated(run.info.run_id, "KILLED")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _git_commit(project: Project) -> dict[str, str]:
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = result.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}


def _brief(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:500]


def _quieten() -> None:
    """Only warnings of MLflow and its migrations are for people."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def count_runs(project: Project) -> int:
    """Number of runs in the store; EnvironmentProblem where it cannot be used."""
    import mlflow

    _quieten()
    uri = store_uri(project)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (project.home / "mlflow.db").exists():
        return 0
    try:
        client = mlflow.MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return len(client.search_runs(experiments, max_results=1000)) if experiments else 0
    except Exception as fault:
        raise EnvironmentProblem(_brief(fault)) from fault
