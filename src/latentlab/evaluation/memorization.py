"""Whether generated images are training images."""

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.inference import in_batches

COPIED_WITHIN = 0.25
"""A sample is a copy where its nearest training image is closer than this share of what is usual
for real images that were not trained on."""
ALARM = 0.05
"""Share of copies from which samples are called memorised."""


@torch.inference_mode()
def nearest_training_images(images: Tensor, train: ImageSet) -> tuple[Tensor, Tensor]:
    """Of images [N, C, S, S] the distance in pixels to the nearest in `train`, and which it is.

    Euclidean distances [N] and indices [N].
    """
    flat = images.flatten(1)
    best = torch.full((len(flat),), torch.inf)
    which = torch.zeros(len(flat), dtype=torch.int64)
    start = 0
    for batch in in_batches(train):
        distances, indices = torch.cdist(flat, batch.flatten(1)).min(1)
        closer = distances < best
        best[closer], which[closer] = distances[closer], indices[closer] + start
        start += len(batch)
    return best, which


def memorization_metrics(of_samples: Tensor, of_real: Tensor) -> dict[str, float]:
    """Whether samples are copies, by distances [N] and [M] to the nearest training images.

    `of_real` are those of real images that were not trained on. `nearest_ratio` is the quotient of
    the medians (blurred samples lie below 1 and are no copies), `copied` the share of samples
    within a quarter of the median of real images, and `memorized` 1 where that is above a
    twentieth, and above twice the share of real images that have a twin among those trained on.
    """
    usual = max(float(np.median(of_real)), 1e-12)
    copied, twins = (
        float((d < COPIED_WITHIN * usual).float().mean()) for d in (of_samples, of_real)
    )
    return {
        "nearest_ratio": float(np.median(of_samples)) / usual,
        "copied": copied,
        "memorized": float(copied > max(ALARM, 2 * twins)),
    }
