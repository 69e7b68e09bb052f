"""Applying a trained model to many images, a batch at a time, without gradients."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from latentlab.data.image_set import ImageSet
from latentlab.runtime import mixed_precision

BATCH = 1000
"""Images at a time; large enough to be fast, small enough for any memory."""


@torch.inference_mode()
def mean_terms(model: nn.Module, images: ImageSet) -> dict[str, float]:
    """The loss terms of a model over a whole split, averaged per image."""
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    for batch, labels in images.to(device).batches(BATCH):
        with mixed_precision(device):
            terms = model.loss_terms(batch, labels)
        for name, value in terms.items():
            sums[name] += value * len(batch)
    return {name: float(total) / len(images) for name, total in sums.items()}


@torch.inference_mode()
def apply_in_batches(function: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> Tensor:
    """`function` of every batch, concatenated on the CPU."""
    return torch.cat([function(batch).float().cpu() for batch in batches])
