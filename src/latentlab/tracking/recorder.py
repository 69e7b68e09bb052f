"""The process that tells MLflow what a stage did; see `run` for why it is one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common import startup
from latentlab.tracking.store import brief, connect, end_abandoned_runs, process_tags

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from latentlab.common.project import Project

PACKAGE = Path(__file__).parents[1]


def serve(pipe: Connection) -> None:
    """Do what comes through the pipe until "end", or until the stage is gone.

    Each message is a method of `Recording` with its arguments. The first fault is sent back, and
    nothing is recorded after it; "end" is answered by the fault or None. Ends its process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the stage, which then says so
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    warnings.simplefilter("ignore")  # MLflow's, on how it might be used otherwise
    with startup.without_garbage_collection():
        _record(pipe, Recording())
    startup.exit_now(0)


def _record(pipe: Connection, recording: Recording) -> None:
    """Execute messages until "end" or until the pipe closes."""
    error = None
    try:
        while True:
            command, arguments = pipe.recv()
            if command == "end" and error is not None and arguments[0] == "FINISHED":
                arguments = ("FAILED", error)
            if error is None or command == "end":
                try:
                    getattr(recording, command)(*arguments)
                except Exception as raised:
                    error = error or brief(raised)
                    if command != "end":
                        pipe.send(error)
            if command == "end":
                with suppress(OSError):  # the stage may no longer wait for the answer
                    pipe.send(error)
                return
    except (EOFError, OSError):
        with suppress(Exception):
            recording.end("KILLED", "its process was killed")


class Recording:
    """The MLflow runs of one stage execution: its own, under the name None, and nested ones."""

    def __init__(self) -> None:
        self._ids: dict[str | None, str] = {}
        self._experiment = ""
        self._epochs: dict[str | None, int] = {}
        """The last epoch logged, by run."""
        self._told: dict[str | None, set[tuple[str, int, float]]] = {}
        """Figures that a run had when it was continued: name, step, value."""

    def start(
        self, project: Project, stage: str, dataset: str, fingerprint: str, resume: bool
    ) -> None:
        """Open the store, end what a killed process left running, start or continue the run."""
        import mlflow

        self._experiment = connect(project, f"latentlab/{dataset}")
        end_abandoned_runs(self._experiment)
        tags = {"stage": stage, "dataset": dataset} | _git_commit(project) | process_tags()
        if "DVC_EXP_NAME" in os.environ:
            tags["dvc_exp_name"] = os.environ["DVC_EXP_NAME"]
        tags["fingerprint"] = fingerprint
        stopped = self._find(f"tags.fingerprint = '{fingerprint}'") if resume else None
        if stopped is None:
            active = mlflow.start_run(experiment_id=self._experiment, run_name=stage, tags=tags)
            self._ids[None] = active.info.run_id
        else:
            mlflow.start_run(run_id=stopped)
            self._continue(None, stopped)

    def log_params(self, run: str | None, params: dict[str, Any]) -> None:
        """Log flat parameters."""
        import mlflow

        mlflow.log_params(params, run_id=self._ids[run])

    def log_metrics(self, run: str | None, metrics: dict[str, float], step: int) -> None:
        """Log figures at a step, except those that are there."""
        import mlflow

        told = self._told.get(run, set())
        news = {name: value for name, value in metrics.items() if (name, step, value) not in told}
        mlflow.log_metrics(news, step=step, run_id=self._ids[run])

    def log_epoch(self, run: str | None, metrics: dict[str, float], epoch: int) -> None:
        """Log the figures of an epoch, unless they are there."""
        if epoch > self._epochs.get(run, 0):
            self.log_metrics(run, metrics, epoch)
            self._epochs[run] = epoch

    def set_tags(self, run: str | None, tags: dict[str, Any]) -> None:
        """Tag a run."""
        import mlflow

        client = mlflow.MlflowClient()
        for key, value in tags.items():
            client.set_tag(self._ids[run], key, value)

    def log_files(self, run: str | None, path: Path) -> None:
        """Keep a file, or a folder under its name."""
        import mlflow

        if path.is_dir():
            mlflow.log_artifacts(str(path), path.name, run_id=self._ids[run])
        else:
            mlflow.log_artifact(str(path), run_id=self._ids[run])

    def log_dataset(self, run: str | None, name: str, digest: str, files: str) -> None:
        """Log the dataset as an input of a run."""
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        source = CodeDatasetSource(tags={"files": files})
        # MLflow takes digests of at most 36 characters
        dataset = MetaDataset(source, name=name, digest=digest[:36])._to_mlflow_entity()
        context = [InputTag("mlflow.data.context", "training")]
        mlflow.MlflowClient().log_inputs(self._ids[run], [DatasetInput(dataset, context)])

    def log_model(
        self,
        name: str,
        stored: Path,
        example_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
    ) -> None:
        """Log a stored network with the code that loads it; shapes without the batch."""
        import mlflow.pyfunc
        import numpy as np
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        def spec(shape: tuple[int, ...]) -> Schema:
            return Schema([TensorSpec(np.dtype("float32"), (-1, *shape))])

        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(PACKAGE / "tracking" / "served_model.py"),
            artifacts={"model": str(stored)},
            code_paths=[str(PACKAGE)],
            signature=ModelSignature(spec(example_shape), spec(output_shape)),
            # given, because MLflow otherwise starts a slow process to guess them
            pip_requirements=[
                f"{package}=={version(package).split('+')[0]}"
                for package in ("torch", "numpy", "safetensors")
            ],
        )

    def start_child(self, name: str) -> None:
        """Start a nested run, or continue the one of this name."""
        import mlflow

        parent = self._ids[None]
        known = self._find(
            f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"
        )
        if known is not None:
            mlflow.MlflowClient().update_run(known, status="RUNNING")
            self._continue(name, known)
            return
        tags = {"mlflow.parentRunId": parent} | process_tags()
        run = mlflow.MlflowClient().create_run(self._experiment, tags=tags, run_name=name)
        self._ids[name] = run.info.run_id

    def end_child(self, name: str, status: str = "FINISHED") -> None:
        """End a nested run."""
        import mlflow

        mlflow.MlflowClient().set_terminated(self._ids.pop(name), status)

    def _find(self, filter_string: str) -> str | None:
        """The latest run that is not running."""
        import mlflow

        runs = mlflow.MlflowClient().search_runs([self._experiment], filter_string)
        return next((r.info.run_id for r in runs if r.info.status != "RUNNING"), None)

    def _continue(self, name: str | None, run_id: str) -> None:
        """Log to a run that was stopped, after the last epoch that it has."""
        import mlflow

        self._ids[name] = run_id
        self.set_tags(name, process_tags())
        client = mlflow.MlflowClient()
        if "reason" in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, "reason")  # why it stopped
        metrics = client.get_run(run_id).data.metrics
        points = [point for key in metrics for point in client.get_metric_history(run_id, key)]
        self._told[name] = {(point.key, point.step, point.value) for point in points}
        per_epoch = [point.step for point in points if point.key.startswith("train/")]
        self._epochs[name] = max(per_epoch, default=0)

    def end(self, status: str, reason: str | None) -> None:
        """End every run that is open, the stage's own last."""
        import mlflow

        for name in [name for name in self._ids if name is not None]:
            self.end_child(name, status)
        if reason is not None and None in self._ids:
            self.set_tags(None, {"reason": reason})
        mlflow.end_run(status)


def _git_commit(project: Project) -> dict[str, str]:
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = result.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}
