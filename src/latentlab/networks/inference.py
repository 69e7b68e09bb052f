"""Applying a trained model to many images, a batch at a time, without gradients."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from latentlab.data.image_set import ImageSet
from latentlab.networks.means import Means
from latentlab.runtime import mixed_precision

MOST_IMAGES = 1000
MOST_PIXELS = 1 << 23
"""At a time: large enough to be fast, small enough for any memory."""


def batch_size(image_shape: Sequence[int]) -> int:
    """How many images [C, S, S] to look at in one go."""
    return max(1, min(MOST_IMAGES, MOST_PIXELS // math.prod(image_shape)))


def in_batches(images: ImageSet) -> Iterator[Tensor]:
    """Float images [B, C, S, S] in [0, 1], in order."""
    for batch, _ in images.batches(batch_size(images.image_shape)):
        yield batch


@torch.inference_mode()
def mean_terms(model: nn.Module, images: ImageSet) -> dict[str, float]:
    """The loss terms of a model over a whole split, averaged per image."""
    model.eval()
    device = next(model.parameters()).device
    means = Means()
    for batch, labels in images.to(device).batches(batch_size(images.image_shape)):
        with mixed_precision(device):
            terms = model.loss_terms(batch, labels)
        means.add(terms, len(batch))
    return means.take()


@torch.inference_mode()
def apply_in_batches(function: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> Tensor:
    """`function` of every batch, concatenated on the CPU."""
    return torch.cat([function(batch).float().cpu() for batch in batches])
