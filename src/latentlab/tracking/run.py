"""The MLflow run of a stage; a separate process, the recorder, does the logging.

Importing MLflow and opening its store takes seconds, and every call takes milliseconds. In a
separate process, logging does not slow down training, and if the stage is killed with SIGKILL, the
recorder survives and marks the run as KILLED. Commands are executed in the order in which they are
sent. An error of the store is raised by the next call, or at the end of the stage. If a tracking
server does not answer, the stage continues, and what the server has not received is kept on disk.
MLflow's own asynchronous logging guarantees none of this.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.data.augmentation import describe
from latentlab.params.fields import flatten
from latentlab.tracking.logged_model import hash_of
from latentlab.tracking.recorder import serve
from latentlab.tracking.store import brief, check_server, server_of, store_uri

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from latentlab.data.image_set import DatasetInfo


START_METHOD = "spawn"
"""How the recorder is started; a fork of a multi-threaded process may hang."""


RECORDER_DIED = "the recorder process died"


@dataclass(frozen=True)
class Run:
    """An active MLflow run: the run of the stage, or its nested run `child`."""

    recorder: Recorder | NullRecorder
    child: str | None = None

    def log_params(self, params: dict[str, Any]) -> None:
        """Log a nested mapping as dotted parameters; see `readable`."""
        self.recorder.send("log_params", self.child, readable(params))

    def log_epoch(self, record: dict[str, float], ended: float | None = None) -> None:
        """Log the record of one epoch at its step; an epoch that is logged already is ignored.

        `ended` is the Unix time of its end; by default it ends now.
        """
        metrics = {name: value for name, value in record.items() if name != "epoch"}
        ended = time.time() if ended is None else ended
        self.recorder.send("log_epoch", self.child, metrics, int(record["epoch"]), ended)

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Log nested metrics under names such as `test/mse`.

        MLflow's table shows the value at the latest step. With the last epoch as `step`, that is
        the value of the selected model.
        """
        values = flatten(metrics, separator="/")
        self.recorder.send("log_metrics", self.child, values, step, time.time())

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Set tags of the run."""
        self.recorder.send("set_tags", self.child, tags)

    def log_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Log rows with equal keys as a table, which MLflow shows next to those of other runs."""
        self.recorder.send("log_table", self.child, name, rows)

    def log_image(self, name: str, step: int, path: Path) -> None:
        """Log a PNG file as the image `name` of a step, once."""
        # the file may be deleted before the recorder gets to it
        drawn = path.stat().st_mtime
        self.recorder.send("log_image", self.child, name, step, path.read_bytes(), drawn)

    def log_files(self, path: Path) -> None:
        """Log a file, or a folder under its own name, as artifacts."""
        self.recorder.send("log_files", self.child, path)

    def set_name(self, name: str) -> None:
        """Name the run; the name of the DVC experiment is added if there is one."""
        self.recorder.send("set_name", self.child, name)

    def describe(self, metrics: dict[str, float], text: str = "") -> None:
        """Write the description of the run: Markdown, metrics, and how to reproduce it."""
        self.recorder.send("describe", self.child, metrics, text)

    def log_dataset(self, info: DatasetInfo) -> None:
        """Log name, digest and sizes of the dataset, and whether it has class labels."""
        tags = {"dataset": info.name, "data_hash": info.digest}
        self.set_tags(tags if info.labeled else tags | {"labels": "none"})
        self.log_params({"dataset": info.sizes})

    def log_split(self, info: DatasetInfo, split: str) -> None:
        """Log a split of the dataset as an input of the run, once."""
        files = ", ".join(info.sha256)
        self.recorder.send("log_split", self.child, info.name, info.digest, split, files)

    def log_headlines(self, metrics: dict[str, float], step: int) -> None:
        """Log the metrics by which runs and models are compared, named `<split>/<metric>`.

        They are attached to the model that the run has logged or evaluated before.
        """
        self.recorder.send("log_headlines", self.child, metrics, step, time.time())

    def log_model(
        self,
        folder: Path,
        info: DatasetInfo,
        images: Tensor,
        codes: Tensor,
        epoch: int,
        name: str = "",
    ) -> None:
        """Log the network that `save_model` wrote to `folder`, as a model of its family.

        The code that loads it is logged with it, so it can be loaded and served without a checkout.
        `images` [N, C, S, S] and their latent `codes` [N, L] are examples of its inputs; the batch
        size is left open. `epoch` is the one whose weights were kept. A `name` is appended to that
        of the family.
        """
        examples = images.tolist(), codes.tolist()
        self.recorder.send("log_model", self.child, folder, name, info.classes, *examples, epoch)

    def log_evaluated_models(self, folders: dict[str, Path]) -> None:
        """Log saved networks as the models that this run evaluates, unless they are not in MLflow.

        Metrics whose names begin with a key of `folders`, after the split, are attached to them.
        """
        hashes = {prefix: hash_of(folder) for prefix, folder in folders.items()}
        self.recorder.send("log_evaluated_models", self.child, hashes)

    @contextmanager
    def nested(
        self, name: str, kind: str, error: str | None = None, times: Sequence[float] = ()
    ) -> Iterator[Run]:
        """Open a nested run; it ends FINISHED, or FAILED with `error` as the reason.

        It has the tags of the stage's run that identify stage, dataset, code and seed, and the tag
        `kind`, such as `trial` or `fold`. It starts and ends now, or at the first and the last of
        `times` (Unix times) if it took place earlier. If the block raises, the nested run is closed
        with the stage and takes the stage's status.
        """
        started = times[0] if times else time.time()
        self.recorder.send("start_child", name, kind, started)
        yield Run(self.recorder, name)
        if error is not None:
            self.recorder.send("set_tags", name, {"reason": error})
        ended = times[-1] if times else time.time()
        self.recorder.send("end_child", name, "FAILED" if error else "FINISHED", ended)


def readable(params: dict[str, Any]) -> dict[str, Any]:
    """Return a nested mapping as dotted parameters that can be read and compared in MLflow.

    A range of a search space becomes text such as `0.001 to 0.008, log`, and a list of transforms
    text such as `RandomCrop(padding=1)`. The entries of other lists of mappings are numbered from
    1.
    """
    flat: dict[str, Any] = {}
    for name, value in flatten(params).items():
        if name.endswith("search.space"):
            flat |= {f"{name}.{path}": _describe_range(each) for path, each in value.items()}
        elif name.endswith(".augmentation") and isinstance(value, list | tuple):
            flat[name] = describe(value)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for number, entry in enumerate(value, 1):
                flat |= flatten(entry, f"{name}.{number}.")
        else:
            flat[name] = value
    return flat


def _describe_range(settings: dict[str, Any]) -> str:
    """Return a range as text; `settings` are those of `params.yaml`, with defaults."""
    if "choices" in settings:
        parts = [" | ".join(map(str, settings["choices"]))]
    else:
        parts = [f"{settings['low']} to {settings['high']}"]
        if settings["step"] not in (None, 1):
            parts.append(f"step {settings['step']}")
        if settings["log"]:
            parts.append("log")
    for path, value in settings["when"].items():
        parts.append(f"if {path} is {value}, else {settings['otherwise']}")
    return ", ".join(parts)


class NullRecorder:
    """A recorder that records nothing."""

    def send(self, command: str, *arguments: Any) -> None:
        """Ignore the command."""


class Recorder:
    """A handle on the recorder process, which records one execution of a stage."""

    def __init__(
        self, project: Project, stage: str, dataset: str, fingerprint: str, resume: bool
    ) -> None:
        context = multiprocessing.get_context(START_METHOD)
        self._store = server_of(project) or store_uri(project)
        self._pipe, other_end = context.Pipe()
        # type stubs declare Process for the concrete contexts only
        self._process = context.Process(  # type: ignore[attr-defined]
            target=serve,
            args=(other_end, project, stage, dataset, fingerprint, resume),
            name="recorder",
        )
        self._process.start()
        other_end.close()

    def send(self, command: str, *arguments: Any) -> None:
        """Send a command of `recording.Recording`.

        Raises EnvironmentProblem if an earlier command failed.
        """
        while self._pipe.poll():
            self._receive()
        try:
            self._pipe.send((command, arguments))
        except OSError:
            self._raise(RECORDER_DIED)

    def end(self, status: str, reason: str | None) -> None:
        """End all open runs and wait until everything is recorded.

        Raises EnvironmentProblem if a command failed.
        """
        try:
            self._pipe.send(("end", (status, reason)))
            while not self._receive():
                pass
        except OSError:
            self._raise(RECORDER_DIED)
        finally:
            self._pipe.close()
            self._process.join()

    def _receive(self) -> bool:
        """Handle a message of the recorder and return whether it was the last one.

        Raises EnvironmentProblem if a command failed.
        """
        try:
            kind, text = self._pipe.recv()
        except EOFError:
            self._raise(RECORDER_DIED)
        if kind == "note":
            note(text)
        elif text is not None:
            self._raise(text)
        return bool(kind == "ended")

    def _raise(self, error: str) -> NoReturn:
        raise EnvironmentProblem(
            f"the MLflow store {self._store} cannot be used: {error}; run `latentlab doctor` for "
            "advice"
        )


@contextmanager
def track(project: Project, stage: str, dataset: str, fingerprint: str) -> Iterator[Run]:
    """Open the run of a stage; it ends FINISHED, or FAILED or KILLED with the reason.

    If there are checkpoints of this fingerprint, the interrupted run that wrote them is continued.
    Raises EnvironmentProblem if the store cannot be used.
    """
    check_server(project)
    resume = project.checkpoints(stage, fingerprint).is_dir()
    recorder = Recorder(project, stage, dataset, fingerprint, resume)
    try:
        yield Run(recorder)
    except BaseException as reason:
        status = "FAILED" if isinstance(reason, Exception) else "KILLED"
        try:
            recorder.end(status, brief(reason))
        except EnvironmentProblem as problem:
            if isinstance(reason, Exception):
                raise problem from reason
        raise
    recorder.end("FINISHED", None)
