"""The state of a training on disk while it runs, so that one that was killed goes on.

A checkpoint lies outside the outputs of DVC, which deletes those before a stage runs. It is torch's
own format, read with `weights_only`: tensors and plain values, no code.
"""

import time
from pathlib import Path
from typing import Any

import torch

from latentlab.errors import EnvironmentProblem
from latentlab.files import atomic_path

SECONDS_BETWEEN = 10.0
"""How much work a killed training may lose."""

State = dict[str, Any]


class Checkpoint:
    """One file, replaced atomically; its path is made of the hash of all that decides the result.

    Without a path nothing is kept.
    """

    def __init__(self, path: Path | None = None, seconds_between: float = SECONDS_BETWEEN) -> None:
        self._path = path
        self._seconds_between = seconds_between
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self._path is not None and time.monotonic() - self._written >= self._seconds_between

    def write(self, state: State) -> None:
        """Replace the checkpoint."""
        if self._path is not None:
            try:
                with atomic_path(self._path) as temporary:
                    torch.save(state, temporary)
            except (OSError, RuntimeError) as fault:  # torch has its own words for a full disk
                reason = str(fault).splitlines()[0]
                raise EnvironmentProblem(
                    f"the checkpoint {self._path} cannot be written ({reason}); "
                    "free the disk and run again: it goes on from the last one"
                ) from fault
            self._written = time.monotonic()

    def read(self) -> State | None:
        """The state that was written last; None where there is none that can be read."""
        if self._path is None or not self._path.exists():
            return None
        try:
            return torch.load(self._path, weights_only=True, map_location="cpu")
        except Exception:  # torch lets through whatever its reader stumbles over
            return None  # starting over loses time, but no result
