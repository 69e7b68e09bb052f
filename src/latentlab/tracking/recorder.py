"""The recorder: a separate process that logs a stage to MLflow. See `run` for the reason."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import warnings
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common import startup
from latentlab.common.progress import short
from latentlab.tracking.store import brief, connect, end_abandoned_runs, process_tags

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from latentlab.common.project import Project

PACKAGE = Path(__file__).parents[1]

INHERITED_TAGS = {
    "stage",
    "dataset",
    "data_hash",
    "seed",
    "device",
    "fingerprint",
    "git_commit",
    "git_dirty",
    "mlflow.source.git.commit",
    "dvc_exp_name",
}
"""Tags of a stage's run that its nested runs have too, so that one filter finds both."""

DIFF = "git_diff.patch"
"""Artifact with the uncommitted changes of the work tree."""

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
"""MLflow's name for the use of each split."""


def serve(pipe: Connection) -> None:
    """Execute the commands that arrive through the pipe until "end" or until the stage is gone.

    A command is the name of a method of `Recording`, with its arguments. The first error is sent
    back, and later commands are ignored. "end" is answered by that error or None. This function
    ends the process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the stage handles them and then sends "end"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    warnings.simplefilter("ignore")  # MLflow's, which users cannot act on
    with startup.without_garbage_collection():
        _record(pipe, Recording())
    startup.exit_now(0)


def _record(pipe: Connection, recording: Recording) -> None:
    """Execute commands until "end" or until the pipe closes."""
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
    """The MLflow runs of one stage execution.

    Its methods take the name of a nested run, or None for the run of the stage itself.
    """

    def __init__(self) -> None:
        self._ids: dict[str | None, str] = {}
        self._experiment = ""
        self._inherited: dict[str, Any] = {}
        """Those tags of the stage's run that are in `INHERITED_TAGS`."""
        self._epochs: dict[str | None, int] = {}
        """The last epoch logged, by run."""
        self._splits: set[tuple[str | None, str]] = set()
        """The runs and splits that are logged as inputs."""
        self._logged: dict[str | None, set[tuple[str, int, float]]] = {}
        """Metrics that a resumed run already has: name, step, value."""
        self._images: dict[str | None, set[tuple[str, int]]] = {}
        """Images that are logged: name, step."""

    def start(
        self, project: Project, stage: str, dataset: str, fingerprint: str, resume: bool
    ) -> None:
        """Open the store, end abandoned runs, and start the run of the stage.

        With `resume`, an interrupted run of the same fingerprint is continued instead.
        """
        import mlflow

        self._experiment = connect(project, f"latentlab/{dataset}")
        end_abandoned_runs(self._experiment)
        tags = {"stage": stage, "dataset": dataset, "kind": "stage"}
        tags |= _git_commit(project) | process_tags()
        diff = _uncommitted_changes(project)
        tags["git_dirty"] = str(diff is not None).lower()
        if "DVC_EXP_NAME" in os.environ:
            tags["dvc_exp_name"] = os.environ["DVC_EXP_NAME"]
        tags["fingerprint"] = fingerprint
        self._inherit(tags)
        same = f"tags.kind = 'stage' and tags.fingerprint = '{fingerprint}'"
        interrupted = self._find(same) if resume else None
        if interrupted is None:
            active = mlflow.start_run(experiment_id=self._experiment, run_name=stage, tags=tags)
            self._ids[None] = active.info.run_id
        else:
            mlflow.start_run(run_id=interrupted)
            self._resume(None, interrupted)
        if diff:
            mlflow.log_text(diff, DIFF, run_id=self._ids[None])

    def log_params(self, run: str | None, params: dict[str, Any]) -> None:
        """Log flat parameters."""
        import mlflow

        mlflow.log_params(params, run_id=self._ids[run])

    def log_metrics(
        self, run: str | None, metrics: dict[str, float], step: int, time: float | None = None
    ) -> None:
        """Log metrics at a step and a Unix time, except those that are logged already."""
        import mlflow

        logged = self._logged.get(run, set())
        new = {name: value for name, value in metrics.items() if (name, step, value) not in logged}
        mlflow.log_metrics(new, step=step, run_id=self._ids[run], timestamp=_milliseconds(time))

    def log_epoch(
        self, run: str | None, metrics: dict[str, float], epoch: int, ended: float
    ) -> None:
        """Log the metrics of an epoch that ended at a Unix time, unless it is logged already."""
        if epoch > self._epochs.get(run, 0):
            self.log_metrics(run, metrics, epoch, ended)
            self._epochs[run] = epoch

    def set_tags(self, run: str | None, tags: dict[str, Any]) -> None:
        """Set tags of a run."""
        import mlflow

        if run is None:
            self._inherit(tags)
        client = mlflow.MlflowClient()
        for key, value in tags.items():
            client.set_tag(self._ids[run], key, value)

    def log_table(self, run: str | None, name: str, rows: list[dict[str, Any]]) -> None:
        """Log rows as the table `<name>.json`."""
        import mlflow

        columns = {key: [row[key] for row in rows] for key in rows[0]}
        mlflow.log_table(columns, f"{name}.json", run_id=self._ids[run])

    def log_image(self, run: str | None, name: str, step: int, png: bytes, time: float) -> None:
        """Log the content of a PNG file, drawn at a Unix time, unless the step has the image."""
        import mlflow
        from PIL import Image

        if (name, step) in self._images.setdefault(run, set()):
            return
        self._images[run].add((name, step))
        with Image.open(BytesIO(png)) as image:
            mlflow.MlflowClient().log_image(
                self._ids[run], image, key=name, step=step, timestamp=_milliseconds(time)
            )

    def log_files(self, run: str | None, path: Path) -> None:
        """Log a file, or a folder under its own name, as artifacts."""
        import mlflow

        if path.is_dir():
            mlflow.log_artifacts(str(path), path.name, run_id=self._ids[run])
        else:
            mlflow.log_artifact(str(path), run_id=self._ids[run])

    def set_name(self, run: str | None, name: str) -> None:
        """Rename a run; add the name of the DVC experiment."""
        import mlflow

        if "DVC_EXP_NAME" in os.environ:
            name += f" ({os.environ['DVC_EXP_NAME']})"
        mlflow.MlflowClient().update_run(self._ids[run], name=name)

    def describe(self, run: str | None, metrics: dict[str, float]) -> None:
        """Write the description of a run in Markdown: metrics, and how to reproduce them."""
        tags = self._inherited
        rows = [f"| {name} | {short(value)} |" for name, value in metrics.items()]
        steps = [f"Data hash: `{tags['data_hash']}`"] if "data_hash" in tags else []
        if "git_commit" in tags:
            steps.append(
                f"Reproduce: `git checkout {tags['git_commit']}`, `dvc repro {tags['stage']}`"
            )
        if tags["git_dirty"] == "true":
            steps.append(f"The work tree had uncommitted changes: see the artifact `{DIFF}`")
        table = ["| metric | value |", "|---|--:|", *rows, ""] if rows else []
        self.set_tags(run, {"mlflow.note.content": "\n".join([*table, "\n\n".join(steps)])})

    def log_split(self, run: str | None, name: str, digest: str, split: str, files: str) -> None:
        """Log a split as an input of a run, once; `files` are the names of the raw files."""
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        if (run, split) in self._splits:
            return
        self._splits.add((run, split))
        source = CodeDatasetSource(tags={"files": files, "split": split})
        # MLflow accepts digests of at most 36 characters, and leaves `profile` abstract by mistake
        digest = f"{digest[:25]}-{split}"
        dataset = MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]
        context = [InputTag("mlflow.data.context", CONTEXTS[split])]
        mlflow.MlflowClient().log_inputs(
            self._ids[run], [DatasetInput(dataset._to_mlflow_entity(), context)]
        )

    def log_model(
        self,
        name: str,
        model_dir: Path,
        example_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
    ) -> None:
        """Log a saved network with the code that loads it; shapes without the batch dimension."""
        import mlflow.pyfunc
        import numpy as np
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        def spec(shape: tuple[int, ...]) -> Schema:
            return Schema([TensorSpec(np.dtype("float32"), (-1, *shape))])

        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(PACKAGE / "tracking" / "served_model.py"),
            artifacts={"model": str(model_dir)},
            code_paths=[str(PACKAGE)],
            signature=ModelSignature(spec(example_shape), spec(output_shape)),
            # otherwise MLflow starts a slow process to infer them
            pip_requirements=[
                f"{package}=={version(package).split('+')[0]}"
                for package in ("torch", "numpy", "safetensors")
            ],
        )

    def start_child(self, name: str, kind: str, started: float | None = None) -> None:
        """Start a nested run of a kind, at a Unix time, or resume the one with this name."""
        import mlflow

        parent = self._ids[None]
        existing = self._find(
            f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"
        )
        if existing is not None:
            mlflow.MlflowClient().update_run(existing, status="RUNNING")
            self._resume(name, existing)
            return
        tags = self._inherited | {"mlflow.parentRunId": parent, "kind": kind} | process_tags()
        run = mlflow.MlflowClient().create_run(
            self._experiment, start_time=_milliseconds(started), tags=tags, run_name=name
        )
        self._ids[name] = run.info.run_id

    def end_child(self, name: str, status: str, ended: float | None = None) -> None:
        """End a nested run, at a Unix time."""
        import mlflow

        mlflow.MlflowClient().set_terminated(self._ids.pop(name), status, _milliseconds(ended))

    def _inherit(self, tags: dict[str, Any]) -> None:
        """Remember tags of the stage's run for its nested runs."""
        self._inherited |= {key: str(tags[key]) for key in tags if key in INHERITED_TAGS}

    def _find(self, filter_string: str) -> str | None:
        """Return the id of the latest matching run that is not running, or None."""
        import mlflow

        runs = mlflow.MlflowClient().search_runs([self._experiment], filter_string)
        return next((r.info.run_id for r in runs if r.info.status != "RUNNING"), None)

    def _resume(self, name: str | None, run_id: str) -> None:
        """Log further metrics to an interrupted run, without repeating those that it has."""
        import mlflow

        self._ids[name] = run_id
        self.set_tags(name, process_tags())
        client = mlflow.MlflowClient()
        if "reason" in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, "reason")  # of the interruption
        metrics = client.get_run(run_id).data.metrics
        points = [point for key in metrics for point in client.get_metric_history(run_id, key)]
        self._logged[name] = {(point.key, point.step, point.value) for point in points}
        per_epoch = [point.step for point in points if point.key.startswith("train/")]
        self._epochs[name] = max(per_epoch, default=0)
        files = [Path(file.path).name for file in client.list_artifacts(run_id, "images")]
        self._images[name] = {match for file in files if (match := _image_of(file))}

    def end(self, status: str, reason: str | None) -> None:
        """End all open runs, the run of the stage last; `reason` says why it did not finish."""
        import mlflow

        for name in [name for name in self._ids if name is not None]:
            self.end_child(name, status)
        if reason is not None and None in self._ids:
            self.set_tags(None, {"reason": reason})
        mlflow.end_run(status)


def _milliseconds(time: float | None) -> int | None:
    """Convert a Unix time to MLflow's unit; None stands for the current time."""
    return None if time is None else int(time * 1000)


def _image_of(file: str) -> tuple[str, int] | None:
    """Return name and step of an image from the name of the file in which MLflow stores it."""
    match = re.match(r"(.+)\+step\+(\d+)\+timestamp\+", file)
    return match and (match[1], int(match[2]))


def _git_commit(project: Project) -> dict[str, str]:
    """Return tags with the commit of the checkout; none if it is not a Git repository."""
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = result.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}


def _uncommitted_changes(project: Project) -> str | None:
    """Return the difference between the work tree and the commit; None if there is none.

    Files that `dvc repro` itself writes are left out, and new files are not part of the text.
    """
    paths = ["--", ".", ":!dvc.lock", ":!outputs"]
    git = ["git", "-C", str(project.root)]
    try:
        status, diff = (
            subprocess.run([*git, *command, *paths], capture_output=True, text=True, check=True)
            for command in (["status", "--porcelain"], ["diff", "HEAD"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return diff.stdout if status.stdout else None
