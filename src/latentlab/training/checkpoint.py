"""Checkpoints: the state of a running training on disk, from which a killed one resumes.

Checkpoints lie outside the DVC outputs, which DVC deletes before a stage runs. They use torch's own
format and are read with `weights_only=True`: tensors and plain values, no code.

Hand-written because a checkpoint is taken in the middle of an epoch and has to restore the training
bit-identically, including the state of every random generator.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path
from latentlab.training.distributed import ProcessGroup

SECONDS_BETWEEN = 10.0
"""Seconds between two checkpoints: the most work that a kill can lose."""

State = dict[str, Any]


class Checkpoint:
    """One file per training, replaced atomically; without a path nothing is saved.

    The path contains the fingerprint of everything that determines the result, so a checkpoint of
    other parameters, data or code is never found. The processes of `group` call every method
    together.
    """

    def __init__(
        self,
        path: Path | None = None,
        group: ProcessGroup | None = None,
        seconds_between: float = SECONDS_BETWEEN,
    ) -> None:
        self._path = path
        self._group = group or ProcessGroup()
        self._seconds_between = seconds_between
        self._written = time.monotonic()

    def due(self) -> bool:
        """Return whether enough time has passed since the last checkpoint; equal on all ranks."""
        elapsed = time.monotonic() - self._written
        return self._group.broadcast(self._path is not None and elapsed >= self._seconds_between)

    def write(self, state: State, own: State) -> None:
        """Replace the checkpoint by `state`, and by what each process has for itself in `own`."""
        gathered = self._group.all_gather(own)
        if self._path is not None and self._group.is_main:
            try:
                with atomic_path(self._path) as temporary:
                    torch.save({"shared": state, "by_rank": gathered}, temporary)
            except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
                reason = str(error).splitlines()[0]
                raise EnvironmentProblem(
                    f"cannot write the checkpoint {self._path} ({reason}); free disk space and run "
                    "again: training resumes from the last checkpoint"
                ) from error
        self._written = time.monotonic()

    def read(self) -> tuple[State, State] | None:
        """Return `state` and this process's `own` as written last, or None if there are none.

        A checkpoint of another number of processes is ignored, because training could not resume
        bit-identically from it. An unreadable one is ignored too: that costs time, not results.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            saved = torch.load(self._path, weights_only=True, map_location="cpu")
            shared, by_rank = saved["shared"], saved["by_rank"]
        except Exception:  # torch raises whatever its reader runs into
            return None
        if len(by_rank) != self._group.world_size:
            return None
        return shared, by_rank[self._group.rank]


class Stopwatch:
    """Seconds of training, including those before the training was interrupted and resumed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = time.perf_counter()

    def start(self) -> None:
        """Start measuring; the time since the last lap does not count."""
        self._started = time.perf_counter()

    def lap(self) -> None:
        """Add the time since the start or since the last lap."""
        now = time.perf_counter()
        self.seconds += now - self._started
        self._started = now


def random_state(device: torch.device) -> list[Tensor]:
    """Return the state of torch's global random generators on the CPU and on `device`."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    if device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """Restore the state that `random_state` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    if device.type == "mps":
        torch.mps.set_rng_state(states[1])
