"""The recorder: a separate process that logs a stage to MLflow. See `run` for the reason.

Its main thread receives commands from the stage, and a second thread executes them in order. If the
store is a server, each command is first written to a spool on disk. As long as the server does not
answer, the second thread repeats the command while the stage continues. What the server has not
received at the end stays in the spool.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from latentlab.common import startup
from latentlab.tracking.execution import execution_tags, uncommitted_changes
from latentlab.tracking.recording import KILLED, Recording
from latentlab.tracking.spool import Spool, send_earlier
from latentlab.tracking.store import brief, is_transient, server_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from latentlab.common.project import Project

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds between attempts to reach a server; each pause is twice as long as the one before."""

PATIENCE, PATIENCE_IF_INTERRUPTED = 5.0, 1.0
"""Seconds to wait at the end of a stage for a server that does not answer."""


def serve(
    pipe: Connection, project: Project, stage: str, dataset: str, fingerprint: str, resume: bool
) -> None:
    """Start the run of a stage, then execute commands until "end" or until the stage is gone.

    A command is the name of a method of `Recording`, with its arguments. Messages to the stage are
    pairs: ("note", text), ("error", text), and ("ended", error or None) as the answer to "end".
    After an error, later commands are ignored. This function ends the process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the stage handles them and then sends "end"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    warnings.simplefilter("ignore")  # MLflow's, which users cannot act on
    with startup.without_garbage_collection():
        server = server_of(project)
        sender = Sender(project, pipe, Spool.create(project, stage, server) if server else None)
        tags = execution_tags(project, stage, dataset, fingerprint)
        sender.add("start", tags, uncommitted_changes(project), resume, time.time())
        _forward(pipe, sender)
    startup.exit_now(0)


def _forward(pipe: Connection, sender: Sender) -> None:
    """Forward commands to the sender until "end", and wait until it has executed them."""
    status, reason = KILLED
    while (message := _receive(pipe)) is not None:
        command, arguments = message
        if command == "end":
            status, reason = arguments
            break
        sender.add(command, *arguments)
    # the stage sends nothing more, so only the end of the pipe can be found there
    sender.finish(status, reason, is_interrupted=lambda: status == "KILLED" or pipe.poll())


def _receive(pipe: Connection) -> tuple[str, tuple[Any, ...]] | None:
    """Return the next command and its arguments, or None if the stage is gone."""
    try:
        command, arguments = pipe.recv()
    except (EOFError, OSError):
        return None
    return command, arguments


class Sender:
    """A thread that executes commands in order and repeats those that did not reach the server."""

    def __init__(self, project: Project, pipe: Connection, spool: Spool | None) -> None:
        self._project = project
        self._recording = Recording(project)
        self._pipe = pipe
        self._pipe_lock = threading.Lock()
        self._spool = spool
        self._commands: queue.SimpleQueue[tuple[str, list[Any]]] = queue.SimpleQueue()
        self._error: str | None = None
        self._unreachable = False
        self._ending = threading.Event()
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, command: str, *arguments: Any) -> None:
        """Execute a command after all earlier ones."""
        kept = list(arguments)
        if self._spool:
            try:
                kept = self._spool.append(command, arguments)
            except OSError as error:
                self._fail(f"{self._spool.folder}: {error.strerror or error}")
        self._commands.put((command, kept))

    def finish(self, status: str, reason: str | None, is_interrupted: Callable[[], bool]) -> None:
        """End the runs, and tell the stage that they have ended.

        This waits for a server, but only for some seconds if the server does not answer or if the
        stage is interrupted.
        """
        self._ending.set()
        self.add("end", status, reason, time.time())
        deadline = time.monotonic() + PATIENCE
        while not self._done.wait(0.05):
            interrupted = is_interrupted()
            if interrupted:
                deadline = min(deadline, time.monotonic() + PATIENCE_IF_INTERRUPTED)
            late = time.monotonic() > deadline
            if self._spool and late and (interrupted or self._unreachable):
                self._tell("note", self._spool.advice)
                self._tell("ended", None)
                return
        if self._spool:
            self._spool.delete()
        self._tell("ended", self._error)

    def _run(self) -> None:
        if self._spool:
            self._repeat(send_earlier, self._project, self._spool.server)
        command = ""
        while command != "end":
            command, arguments = self._commands.get()
            if command == "end" and self._error is not None and arguments[0] == "FINISHED":
                arguments[:2] = "FAILED", self._error
            if self._error is None or command == "end":
                self._repeat(getattr(self._recording, command), *arguments)
        self._done.set()

    def _repeat(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function, again and again while the server does not answer."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                function(*arguments)
            except Exception as error:
                if not self._spool or not is_transient(error):
                    self._fail(brief(error))
                    return
                if not self._unreachable:
                    self._unreachable = True
                    self._tell("note", self._spool.warning)
            else:
                if self._spool and self._unreachable:
                    self._tell("note", f"the MLflow server {self._spool.server} answers again")
                self._unreachable = False
                return
            # at the end of the stage, there is no time for long pauses
            time.sleep(SHORTEST_PAUSE)
            self._ending.wait(pause - SHORTEST_PAUSE)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _fail(self, error: str) -> None:
        if self._error is None:
            self._error = error
            if not self._ending.is_set():
                self._tell("error", error)

    def _tell(self, kind: str, text: str | None) -> None:
        """Send a message to the stage, which may be gone."""
        with self._pipe_lock, suppress(OSError):
            self._pipe.send((kind, text))
