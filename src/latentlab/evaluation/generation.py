"""How close generated images are to real ones, in the features of the project's own classifier.

The distances have the form of FID and KID but are not comparable with those: their features are
those of Inception, trained on photographs.
"""

import numpy as np
from numpy.typing import NDArray

from latentlab.evaluation.features import Features

Array = NDArray[np.float64]

NEIGHBORS = 5
KERNEL_SUBSETS = 50
KERNEL_SUBSET = 500
AT_ONCE = 1000
"""Rows of a matrix of distances in memory."""


def frechet_distance(first: Array, second: Array) -> float:
    """Fréchet distance between Gaussians fitted to features [N, F] and [M, F].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Dowson and Landau 1982. Few samples make it larger.
    """
    means = first.mean(0) - second.mean(0)
    covariance_1 = np.atleast_2d(np.cov(first, rowvar=False))
    covariance_2 = np.atleast_2d(np.cov(second, rowvar=False))
    # tr((C1 C2)^(1/2)) from the eigenvalues of C1 C2, which are real and not negative
    eigenvalues = np.linalg.eigvals(covariance_1 @ covariance_2).real
    cross = np.sqrt(eigenvalues.clip(min=0)).sum()
    traces = np.trace(covariance_1) + np.trace(covariance_2)
    return float(means @ means + traces - 2 * cross)


def kernel_distance(first: Array, second: Array, seed: int) -> dict[str, float]:
    """Squared maximum mean discrepancy of features [N, F] and [M, F], without bias.

    Mean and standard deviation over subsets, with the kernel (x.y / F + 1)^3 (Binkowski et al.
    2018); it may be a little below zero.
    """
    random = np.random.default_rng(seed)
    size = min(KERNEL_SUBSET, len(first), len(second))
    distances = [
        _discrepancy(
            first[random.choice(len(first), size, replace=False)],
            second[random.choice(len(second), size, replace=False)],
        )
        for _ in range(KERNEL_SUBSETS)
    ]
    return {"mean": float(np.mean(distances)), "std": float(np.std(distances))}


def _discrepancy(first: Array, second: Array) -> float:
    count, width = first.shape

    def kernel(one: Array, other: Array) -> Array:
        return (one @ other.T / width + 1) ** 3

    def among(values: Array) -> float:
        each = kernel(values, values)
        return (each.sum() - np.trace(each)) / (count * (count - 1))

    return float(among(first) + among(second) - 2 * kernel(first, second).mean())


def neighbor_metrics(samples: Array, real: Array) -> dict[str, float]:
    """How samples [N, F] and real images [M, F] lie among each other, by their 5 nearest.

    A ball around each point reaches its fifth nearest of its own kind, the farthest of fewer.
    `precision` is the share of samples within a ball of a real one, `recall` that of real ones
    within a ball of a sample (Kynkäänniemi et al. 2019); `density` counts the balls that a sample
    is in, over 5, and `coverage` is the share of real balls with a sample in them (Naeem et al.
    2020).
    """
    real_radii, sample_radii = _radii(real), _radii(samples)
    in_real = np.zeros(len(samples))
    covered = np.zeros(len(real), bool)
    within_samples = np.zeros(len(real), bool)
    for start in range(0, len(samples), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        distances = _distances(samples[rows], real)
        inside = distances <= real_radii
        in_real[rows] = inside.sum(1)
        covered |= inside.any(0)
        within_samples |= (distances <= sample_radii[rows, None]).any(0)
    return {
        "precision": float((in_real > 0).mean()),
        "recall": float(within_samples.mean()),
        "density": float(in_real.mean() / _nearest(real)),
        "coverage": float(covered.mean()),
    }


def _nearest(points: Array) -> int:
    return min(NEIGHBORS, len(points) - 1)


def _radii(points: Array) -> Array:
    """The distance of each point to its fifth nearest other."""
    radii, nearest = np.empty(len(points)), _nearest(points)
    for start in range(0, len(points), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        # the nearest is the point itself
        radii[rows] = np.partition(_distances(points[rows], points), nearest, axis=1)[:, nearest]
    return radii


def _distances(first: Array, second: Array) -> Array:
    """Euclidean distances [N, M]."""
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(squared.clip(min=0))


def diversity(samples: Array, real: Array, seed: int) -> float:
    """Mean distance between two samples [N, F] over that between two real images [M, F].

    0 where a generator returns one image only.
    """
    return _mean_distance(samples, seed) / max(_mean_distance(real, seed), 1e-12)


def diversity_in_classes(samples: Features, real: Features, seed: int) -> float:
    """The same of two of one class, over all samples whose class has another.

    0 where a generator returns one image of each class.
    """
    ours, theirs = (_mean_distance_in_classes(each, seed) for each in (samples, real))
    return ours / max(theirs, 1e-12)


def _mean_distance_in_classes(points: Features, seed: int) -> float:
    members = [np.flatnonzero(points.classes == each) for each in np.unique(points.classes)]
    several = [each for each in members if len(each) > 1]
    distances = [_mean_distance(points.values[each], seed) for each in several]
    return float(np.average(distances, weights=list(map(len, several)))) if several else 0.0


def _mean_distance(points: Array, seed: int) -> float:
    """Of every point to another drawn at random."""
    order = np.random.default_rng(seed).permutation(len(points))
    return float(np.linalg.norm(points[order] - points[np.roll(order, 1)], axis=1).mean())


def class_shares(classes: NDArray[np.int64], count: int) -> Array:
    """The share of each of `count` classes among the classes [N] of samples."""
    return np.bincount(classes, minlength=count) / len(classes)


def entropy(shares: Array) -> float:
    """Entropy in nats of shares; log(classes) where all are even."""
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
