"""Interpolation between latent codes, and how smoothly the decoded images change."""

import numpy as np
import torch
from torch import Tensor

PARALLEL = 1e-4
"""Angle in radians below which two codes count as parallel."""


def linear_interpolation(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return codes [steps, L] evenly spaced on the line between two codes [L], both included."""
    shares = torch.linspace(0, 1, steps)[:, None]
    return (1 - shares) * start + shares * end


def spherical_interpolation(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return codes [steps, L] at equal angles between two codes [L] (slerp, Shoemake 1985).

    It avoids the region around the origin, where samples of a Gaussian prior are rare. Codes of
    different lengths are interpolated in length as well. Parallel codes, including those in
    opposite directions, are interpolated linearly.
    """
    cosine = torch.dot(start, end) / (start.norm() * end.norm()).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle < PARALLEL or torch.pi - angle < PARALLEL:
        return linear_interpolation(start, end, steps)
    shares = torch.linspace(0, 1, steps)[:, None]
    weights = torch.sin((1 - shares) * angle), torch.sin(shares * angle)
    return (weights[0] * start + weights[1] * end) / torch.sin(angle)


def class_centroids(codes: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean [K, L] of the codes [N, L] of each class; NaN for a class without codes."""
    present = np.isin(np.arange(classes), labels)
    centroids = np.full((classes, codes.shape[1]), np.nan, np.float32)
    centroids[present] = [codes[labels == index].mean(0) for index in np.flatnonzero(present)]
    return centroids


def nearest_and_farthest(codes: np.ndarray) -> list[tuple[int, int]]:
    """Return the indices of the two nearest and of the two farthest codes [K, L].

    One pair for two codes, none for a single code. Codes of NaN are ignored, which are the
    centroids of classes without images.
    """
    present = np.flatnonzero(np.isfinite(codes).all(1))
    if len(present) < 2:
        return []
    first, second = np.triu_indices(len(present), 1)
    distances = np.linalg.norm(codes[present[first]] - codes[present[second]], axis=1)
    pairs = dict.fromkeys([int(distances.argmin()), int(distances.argmax())])
    return [(int(present[first[pair]]), int(present[second[pair]])) for pair in pairs]


def smoothness(images: Tensor) -> float:
    """Return the largest step between successive images [T, C, S, S] divided by the mean step.

    A step is the Euclidean distance of pixel values; equal steps give 1.
    """
    steps = (images[1:] - images[:-1]).flatten(1).norm(dim=1)
    return float(steps.max() / steps.mean().clamp_min(1e-12))
