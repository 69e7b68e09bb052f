"""The run of a stage as stages see it; a second process, the recorder, tells MLflow.

Importing MLflow and opening its store takes seconds, and every call a few milliseconds. On a core
of its own that costs a training nothing, and a stage that is killed outright leaves somebody
behind who says so. What is told here is recorded in the same order; a fault of the store is raised
by the next call, or at the end.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.project import Project
from latentlab.params.fields import flatten
from latentlab.tracking.recorder import serve
from latentlab.tracking.store import brief, store_uri

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from latentlab.data.image_set import DatasetInfo


START_METHOD = "spawn"  # a fork of a process that computes with threads may hang


@dataclass(frozen=True)
class Run:
    """A live MLflow run: that of the stage, or a nested one with the name `child`."""

    recorder: Recorder | NullRecorder
    child: str | None = None

    def log_params(self, params: dict[str, Any]) -> None:
        """Log a nested mapping as dotted parameters."""
        self.recorder.send("log_params", self.child, flatten(params))

    def log_epoch(self, record: dict[str, float]) -> None:
        """Log the record of one epoch, with the epoch as its step; once, however often told."""
        figures = {name: value for name, value in record.items() if name != "epoch"}
        self.recorder.send("log_epoch", self.child, figures, int(record["epoch"]))

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Log nested figures under names such as `test/mse`.

        MLflow shows the value of the latest step: `step` is the last epoch, so that the figure of
        the model that was kept stands in the table.
        """
        self.recorder.send("log_metrics", self.child, flatten(metrics, separator="/"), step)

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Tag the run."""
        self.recorder.send("set_tags", self.child, tags)

    def log_files(self, path: Path) -> None:
        """Keep a file, or a folder under its name, among the run's artifacts."""
        self.recorder.send("log_files", self.child, path)

    def log_dataset(self, info: DatasetInfo) -> None:
        """Log what the run read: name, digest, sizes."""
        self.set_tags({"dataset": info.name, "data_hash": info.digest})
        self.log_params({"dataset": info.sizes})
        files = ", ".join(info.sha256)
        self.recorder.send("log_dataset", self.child, info.name, info.digest, files)

    def log_model(self, stored: Path, example: Tensor, output: Tensor, name: str = "model") -> None:
        """Log a network that `save_model` wrote to `stored`, loadable and servable anywhere.

        The safetensors go with the package's own code, so that no checkout is needed. `example`
        and `output` show the shapes; the batch size stays free.
        """
        shapes = [tuple(tensor.shape[1:]) for tensor in (example, output)]
        self.recorder.send("log_model", name, stored, *shapes)

    @contextmanager
    def nested(self, name: str, fault: str | None = None) -> Iterator[Run]:
        """A nested run in the same experiment; what leaves it open ends it with the stage.

        It ends FINISHED, or FAILED where what it is about ended with a `fault`.
        """
        self.recorder.send("start_child", name)
        yield Run(self.recorder, name)
        if fault is None:
            self.recorder.send("end_child", name)
        else:
            self.recorder.send("set_tags", name, {"reason": fault})
            self.recorder.send("end_child", name, "FAILED")


class NullRecorder:
    """In the place of a recorder where nothing is to be recorded."""

    def send(self, command: str, *arguments: Any) -> None:
        """Forget it."""


class Recorder:
    """The process that tells MLflow, seen from the stage."""

    def __init__(self, project: Project) -> None:
        context = multiprocessing.get_context(START_METHOD)
        self._store = store_uri(project)
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=serve, args=(other_end,), name="recorder")
        self._process.start()
        other_end.close()

    def send(self, command: str, *arguments: Any) -> None:
        """Have one command of `recorder.Recording` done; raises what went wrong before."""
        if self._pipe.poll():
            self._raise(self._pipe.recv())
        try:
            self._pipe.send((command, arguments))
        except OSError:
            self._raise("the recorder died")

    def end(self, status: str, reason: str | None) -> None:
        """End every run that is open, wait until all is recorded, and raise what went wrong."""
        try:
            self._pipe.send(("end", (status, reason)))
            fault = self._pipe.recv()
        except (OSError, EOFError):
            fault = "the recorder died"
        finally:
            self._pipe.close()
            self._process.join()
        if fault:
            self._raise(fault)

    def _raise(self, fault: str) -> None:
        raise EnvironmentProblem(
            f"the MLflow store {self._store} cannot be used: {fault}; see `latentlab doctor`"
        )


@contextmanager
def track(project: Project, stage: str, dataset: str, fingerprint: str) -> Iterator[Run]:
    """Open the run of a stage; it ends FINISHED, FAILED with the reason, or KILLED.

    `fingerprint` stands for all that decides the result. The run of an execution with the same fingerprint that
    was stopped is continued where it left checkpoints.

    Raises EnvironmentProblem where the store cannot be used.
    """
    recorder = Recorder(project)
    try:
        resume = project.checkpoints(stage, fingerprint).is_dir()
        recorder.send("start", project, stage, dataset, fingerprint, resume)
        yield Run(recorder)
    except BaseException as reason:
        status = "FAILED" if isinstance(reason, Exception) else "KILLED"
        try:
            recorder.end(status, brief(reason))
        except EnvironmentProblem as fault:
            if isinstance(reason, Exception):
                raise fault from reason
        raise
    recorder.end("FINISHED", None)
