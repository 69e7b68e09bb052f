"""Applying a trained model to many images in batches, without gradients."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.device import mixed_precision
from latentlab.models.io import TrainableModel

MAX_IMAGES = 1000
MAX_PIXELS = 1 << 23
"""Limits of a batch: large enough to be fast, small enough for the memory of any machine."""


def batch_size(image_shape: Sequence[int]) -> int:
    """Return the number of images of shape [C, S, S] to process at a time."""
    return max(1, min(MAX_IMAGES, MAX_PIXELS // math.prod(image_shape)))


def in_batches(images: ImageSet) -> Iterator[Tensor]:
    """Yield float images [B, C, S, S] in [0, 1], in order."""
    for batch, _ in images.batches(batch_size(images.image_shape)):
        yield batch


class Means:
    """Means over images, computed from means over batches and accumulated on their own device.

    `all_reduce` sums a tensor over the processes that share the batches.
    """

    def __init__(self, all_reduce: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        self._all_reduce = all_reduce
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, terms: dict[str, Tensor], count: int) -> None:
        """Add the terms of a batch of `count` images."""
        for name, value in terms.items():
            # in float32: a sum in bfloat16 stops growing once it is 256 times its summands
            share = value.detach().float() * count
            self._sums[name] = self._sums[name] + share if name in self._sums else share
        self._count += count

    def compute_and_reset(self) -> dict[str, float]:
        """Return the means over all processes and start again from zero."""
        sums, self._sums, count, self._count = self._sums, {}, self._count, 0
        if not sums:
            return {}
        values = torch.stack(list(sums.values()))
        totals = self._all_reduce(torch.cat([values, values.new_tensor([count])])).tolist()
        return {name: total / totals[-1] for name, total in zip(sums, totals[:-1], strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._sums, self._count = dict(state["sums"]), state["count"]


@torch.inference_mode()
def mean_terms(model: TrainableModel, images: ImageSet) -> dict[str, float]:
    """Return the loss terms of a model in evaluation mode, averaged over all images."""
    model.eval()
    device = next(model.parameters()).device
    means = Means()
    for batch, labels in images.to(device).batches(batch_size(images.image_shape)):
        with mixed_precision(device):
            terms = model.loss_terms(batch, labels)
        means.add(terms, len(batch))
    return means.compute_and_reset()


@torch.inference_mode()
def apply_in_batches(function: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> Tensor:
    """Apply `function` to every batch and concatenate the results, as float32 on the CPU."""
    return torch.cat([function(batch).float().cpu() for batch in batches])
