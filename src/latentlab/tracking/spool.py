"""The spool: what a tracking server has not received yet, in `.latentlab/spool/`.

A spool contains all commands of one execution of a stage (see `recording`), with copies of the
files that they log. It is deleted when the server has received everything. Because commands can be
repeated, a spool is always sent from its beginning.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latentlab.common.project import Project
from latentlab.tracking.recording import KILLED, Recording
from latentlab.tracking.store import is_transient


class Spool:
    """The commands of one execution of a stage. The process that executes it holds a lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = FileLock(folder / "lock")
        self._length = 0

    @classmethod
    def create(cls, project: Project, stage: str, server: str) -> Spool:
        """Create an empty spool for a server, and lock it."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{stage}-{getpid()}"
        spool = cls(_spool_folder(project) / name)
        spool.folder.mkdir(parents=True)
        (spool.folder / "server").write_text(server)
        (spool.folder / "commands.jsonl").touch()
        spool.lock.acquire()
        return spool

    @property
    def server(self) -> str:
        """The address of the server that should receive the commands."""
        return (self.folder / "server").read_text()

    @property
    def name(self) -> str:
        """The time of its creation, the stage and the process."""
        return self.folder.name

    @property
    def warning(self) -> str:
        """A message for the moment at which the server stops answering."""
        return (
            f"the MLflow server {self.server} does not answer. The stage continues, and its run is "
            f"kept in {self.folder} until the server answers"
        )

    @property
    def advice(self) -> str:
        """A message for the end of a stage whose commands could not all be sent."""
        return (
            f"the MLflow server {self.server} has not received all data of this run. It is in "
            f"{self.folder}. The next stage sends it, or run `latentlab sync`"
        )

    def append(self, command: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Write a command, copy the files that it logs, and return its arguments with the copies.

        Arguments are paths, bytes and what JSON can represent.
        """
        self._length += 1
        entry = [command, [self._encode(argument) for argument in arguments]]
        with (self.folder / "commands.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        return [self._decode(argument) for argument in entry[1]]

    def read(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield all commands with their arguments; one that was not written completely is left out.

        If the last command is not `end`, because the process was killed, an `end` is added.
        """
        command = ""
        path = self.folder / "commands.jsonl"
        complete = path.read_text().rpartition("\n")[0]
        for line in complete.splitlines():
            command, arguments = json.loads(line)
            yield command, [self._decode(argument) for argument in arguments]
        if command != "end":
            yield "end", [*KILLED, path.stat().st_mtime]

    def delete(self) -> None:
        """Delete this spool."""
        self.lock.release()
        shutil.rmtree(self.folder)

    def _encode(self, argument: Any) -> Any:
        if isinstance(argument, bytes):
            return {"$bytes": b64encode(argument).decode()}
        if not isinstance(argument, Path):
            return argument
        copy = self.folder / str(self._length) / argument.name
        copy.parent.mkdir()
        (shutil.copytree if argument.is_dir() else shutil.copy)(argument, copy)
        return {"$path": str(copy.relative_to(self.folder))}

    def _decode(self, argument: Any) -> Any:
        if not isinstance(argument, dict):
            return argument
        if argument.keys() == {"$bytes"}:
            return b64decode(argument["$bytes"])
        if argument.keys() == {"$path"}:
            return self.folder / argument["$path"]
        return argument


def send_earlier(project: Project, server: str) -> None:
    """Send the spools for a server, oldest first, whose processes have ended.

    Raises the error of MLflow if the server does not answer. A spool that the server rejects is
    left as it is.
    """
    for spool in find_spools(project):
        if spool.server == server:
            try:
                send(project, spool)
            except Exception as error:
                if is_transient(error):
                    raise


def find_spools(project: Project) -> list[Spool]:
    """Return all spools, oldest first."""
    return [Spool(path) for path in sorted(_spool_folder(project).glob("*/"))]


def send(project: Project, spool: Spool) -> bool:
    """Send a spool to the store and delete it; return False if its process is still running."""
    try:
        spool.lock.acquire(blocking=False)
    except Timeout:
        return False
    try:
        recording = Recording(project)
        for command, arguments in spool.read():
            getattr(recording, command)(*arguments)
    except BaseException:
        spool.lock.release()
        raise
    spool.delete()
    return True


def _spool_folder(project: Project) -> Path:
    return project.home / ".latentlab" / "spool"
