"""Ways from one code to another, and how smoothly images change on them."""

import numpy as np
import torch
from torch import Tensor

PARALLEL = 1e-4
"""Angle in radians below which codes point the same way: a straight line is the same walk."""


def linear_interpolation(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Codes [steps, L] evenly spaced on the straight line between two codes [L], both included."""
    shares = torch.linspace(0, 1, steps)[:, None]
    return (1 - shares) * start + shares * end


def spherical_interpolation(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Codes [steps, L] evenly spaced on the arc between two codes [L] (Shoemake 1985).

    It keeps away from the origin, where codes of a Gaussian prior hardly ever are; where lengths
    differ they change along the way.
    """
    cosine = torch.dot(start, end) / (start.norm() * end.norm()).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle < PARALLEL or torch.pi - angle < PARALLEL:
        return linear_interpolation(start, end, steps)
    shares = torch.linspace(0, 1, steps)[:, None]
    weights = torch.sin((1 - shares) * angle), torch.sin(shares * angle)
    return (weights[0] * start + weights[1] * end) / torch.sin(angle)


def class_centroids(codes: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean code of each class [K, L] of codes [N, L]; NaN where a class has none."""
    present = np.isin(np.arange(classes), labels)
    centroids = np.full((classes, codes.shape[1]), np.nan, np.float32)
    centroids[present] = [codes[labels == index].mean(0) for index in np.flatnonzero(present)]
    return centroids


def pairs_to_walk(centroids: np.ndarray) -> list[tuple[int, int]]:
    """The two classes whose mean codes [K, L] are the nearest, and the two that are the farthest.

    One pair where there are two classes, none where there is one; NaN are no classes.
    """
    present = np.flatnonzero(np.isfinite(centroids).all(1))
    if len(present) < 2:
        return []
    first, second = np.triu_indices(len(present), 1)
    distances = np.linalg.norm(centroids[present[first]] - centroids[present[second]], axis=1)
    chosen = dict.fromkeys([int(distances.argmin()), int(distances.argmax())])
    return [(int(present[first[pair]]), int(present[second[pair]])) for pair in chosen]


def smoothness(images: Tensor) -> float:
    """The largest step between images [T, C, S, S] in a row over the mean one; 1 is even.

    A step is the Euclidean distance of pixels.
    """
    steps = (images[1:] - images[:-1]).flatten(1).norm(dim=1)
    return float(steps.max() / steps.mean().clamp_min(1e-12))
