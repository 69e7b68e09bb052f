"""Memorization: whether generated images are copies of training images."""

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.inference import in_batches

COPY_DISTANCE = 0.25
"""A sample counts as a copy if its nearest training image is closer than this share of the median
distance between unseen real images and their nearest training images."""
MEMORIZED_SHARE = 0.05
"""Share of copies above which a generator counts as memorizing."""


@torch.inference_mode()
def nearest_training_images(images: Tensor, train: ImageSet) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest training image, and its index, for images [N, C, S, S].

    Euclidean distances [N] of pixel values, and indices [N]. Hand-written, because
    `sklearn.neighbors` computes in float64, which changes the last digits and the memory needed.
    """
    flat = images.flatten(1)
    nearest_distances = torch.full((len(flat),), torch.inf)
    nearest_indices = torch.zeros(len(flat), dtype=torch.int64)
    start = 0
    for batch in in_batches(train):
        distances, indices = torch.cdist(flat, batch.flatten(1)).min(1)
        closer = distances < nearest_distances
        nearest_distances[closer] = distances[closer]
        nearest_indices[closer] = indices[closer] + start
        start += len(batch)
    return nearest_distances, nearest_indices


def memorization_metrics(of_samples: Tensor, of_real: Tensor) -> dict[str, float]:
    """Return memorization metrics from distances [N] and [M] to the nearest training images.

    `of_real` are the distances of unseen real images. `nearest_ratio` is the quotient of the
    medians; blurred samples are below 1 without being copies. `copied` is the share of samples
    within a quarter of the median of real images. `memorized` is 1 if that share is above 5%, and
    above twice the share of unseen real images that are as close to a training image.
    """
    typical = max(float(np.median(of_real)), 1e-12)
    copied, copied_real = (
        float((distances < COPY_DISTANCE * typical).float().mean())
        for distances in (of_samples, of_real)
    )
    return {
        "nearest_ratio": float(np.median(of_samples)) / typical,
        "copied": copied,
        "memorized": float(copied > max(MEMORIZED_SHARE, 2 * copied_real)),
    }
