"""Passes over the images of a set."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet


class Sweep:
    """Shuffled passes over a set, each of which can be taken up again in the middle."""

    def __init__(self, images: ImageSet, batch_size: int, random: torch.Generator) -> None:
        self._images = images
        self._batch_size = batch_size
        self._random = random
        self._start = random.get_state()
        self.step = 0
        """Batches handed out in this pass."""

    @property
    def images(self) -> int:
        """Images of a whole pass."""
        return len(self._images)

    @property
    def steps(self) -> int:
        """Batches of a whole pass."""
        return -(-len(self._images) // self._batch_size)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Float images [B, C, S, S] in [0, 1] with labels [B], from where the pass stands."""
        if self.step:
            now = self._random.get_state()
            self._random.set_state(self._start)
            order = torch.randperm(len(self._images), generator=self._random)
            self._random.set_state(now)
        else:
            self._start = self._random.get_state()
            order = torch.randperm(len(self._images), generator=self._random)
        for batch in self._images.batches(self._batch_size, order[self.step * self._batch_size :]):
            self.step += 1
            yield batch
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Where the pass stands."""
        return {"step": self.step, "start": self._start, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where another sweep stood."""
        self.step = state["step"]
        self._start = state["start"]
        self._random.set_state(state["random"])
