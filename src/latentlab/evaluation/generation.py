"""Metrics of generated images compared with real ones, in features of the reference classifier.

The distances have the form of FID and KID but are not comparable with published values, which use
the features of an Inception network trained on photographs.
"""

import numpy as np
from numpy.typing import NDArray

from latentlab.evaluation.features import Features

Array = NDArray[np.float64]

NEIGHBORS = 5
"""The radius of a ball is the distance to this neighbor; see `neighbor_metrics`."""
KERNEL_SUBSETS = 50
"""Number of random subsets over which `kernel_distance` averages."""
KERNEL_SUBSET_SIZE = 500
"""Images per subset, or all images if there are fewer."""
FRECHET_DISTANCE = "classifier_frechet_distance"
"""Name of the metric of generators that ranks them; in the features of a classifier."""
RELATIVE_FRECHET_DISTANCE = "relative_frechet_distance"
"""Name of the same distance divided by the variance of the features of real images."""
DISTANCE_ROWS = 1000
"""Rows of a distance matrix that are in memory at a time."""


def frechet_distance(first: Array, second: Array) -> float:
    """Return the Fréchet distance between Gaussians fitted to features [N, F] and [M, F].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Dowson and Landau 1982. It is biased upwards for
    few samples.
    """
    means = first.mean(0) - second.mean(0)
    covariance_1 = np.atleast_2d(np.cov(first, rowvar=False))
    covariance_2 = np.atleast_2d(np.cov(second, rowvar=False))
    # tr((C1 C2)^(1/2)) from the eigenvalues of C1 C2, which are real and not negative
    eigenvalues = np.linalg.eigvals(covariance_1 @ covariance_2).real
    cross = np.sqrt(eigenvalues.clip(min=0)).sum()
    traces = np.trace(covariance_1) + np.trace(covariance_2)
    return float(means @ means + traces - 2 * cross)


def total_variance(features: Array) -> float:
    """Return the sum of the variances of features [N, F], at least 1e-12.

    A Fréchet distance is proportional to it if the features are scaled, so their ratio is
    comparable between classifiers whose features have different scales.
    """
    return max(float(features.var(axis=0, ddof=1).sum()), 1e-12)


def kernel_distance(first: Array, second: Array, seed: int) -> dict[str, float]:
    """Return the unbiased squared maximum mean discrepancy of features [N, F] and [M, F].

    Mean and standard deviation over random subsets, with the kernel (x.y / F + 1)^3 (Binkowski et
    al. 2018). An unbiased estimate of a small distance can be negative.
    """
    random = np.random.default_rng(seed)
    size = min(KERNEL_SUBSET_SIZE, len(first), len(second))
    distances = [
        _discrepancy(
            first[random.choice(len(first), size, replace=False)],
            second[random.choice(len(second), size, replace=False)],
        )
        for _ in range(KERNEL_SUBSETS)
    ]
    return {"mean": float(np.mean(distances)), "std": float(np.std(distances))}


def _discrepancy(first: Array, second: Array) -> float:
    """Return the unbiased squared maximum mean discrepancy of features [N, F] and [N, F]."""
    from sklearn.metrics.pairwise import polynomial_kernel

    count, width = first.shape
    kernel = {"degree": 3, "gamma": 1 / width, "coef0": 1}

    def mean_within(values: Array) -> float:
        similarities = polynomial_kernel(values, **kernel)
        return float((similarities.sum() - np.trace(similarities)) / (count * (count - 1)))

    between = polynomial_kernel(first, second, **kernel).mean()
    return float(mean_within(first) + mean_within(second) - 2 * between)


def neighbor_metrics(samples: Array, real: Array) -> dict[str, float]:
    """Return precision, recall, density and coverage of samples [N, F] and real images [M, F].

    Each point has a ball whose radius is the distance to its 5th nearest neighbor in the same set
    (to the farthest one in a smaller set). `precision` is the share of samples in the ball of a
    real image and `recall` the share of real images in the ball of a sample (Kynkäänniemi et al.
    2019). `density` is the mean number of real balls around a sample, divided by 5, and `coverage`
    the share of real balls that contain a sample (Naeem et al. 2020). Hand-written, because
    scikit-learn has none of them.
    """
    real_radii, sample_radii = _radii(real), _radii(samples)
    balls_per_sample = np.zeros(len(samples))
    covered = np.zeros(len(real), bool)
    within_samples = np.zeros(len(real), bool)
    for start in range(0, len(samples), DISTANCE_ROWS):
        rows = slice(start, start + DISTANCE_ROWS)
        distances = _distances(samples[rows], real)
        inside = distances <= real_radii
        balls_per_sample[rows] = inside.sum(1)
        covered |= inside.any(0)
        within_samples |= (distances <= sample_radii[rows, None]).any(0)
    return {
        "precision": float((balls_per_sample > 0).mean()),
        "recall": float(within_samples.mean()),
        "density": float(balls_per_sample.mean() / _neighbors(real)),
        "coverage": float(covered.mean()),
    }


def _neighbors(points: Array) -> int:
    return min(NEIGHBORS, len(points) - 1)


def _radii(points: Array) -> Array:
    """Return the distance of each point [N, F] to its 5th nearest neighbor, [N]."""
    radii, neighbors = np.empty(len(points)), _neighbors(points)
    for start in range(0, len(points), DISTANCE_ROWS):
        rows = slice(start, start + DISTANCE_ROWS)
        # index 0 is the point itself
        distances = _distances(points[rows], points)
        radii[rows] = np.partition(distances, neighbors, axis=1)[:, neighbors]
    return radii


def _distances(first: Array, second: Array) -> Array:
    """Return the Euclidean distances [N, M] of points [N, F] and [M, F].

    Hand-written, because those of scikit-learn differ in the last digit between (x, y) and (y, x),
    which would exclude points that lie exactly on the radius of a ball.
    """
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    distances: Array = np.sqrt(squared.clip(min=0))
    return distances


def diversity(samples: Array, real: Array, seed: int) -> float:
    """Return the mean distance between samples [N, F], relative to real images [M, F].

    Both means are estimated from one random partner per sample. The result is 1 for samples as
    diverse as real images, and 0 for a generator that always returns the same image.
    """
    return _mean_distance(samples, seed) / max(_mean_distance(real, seed), 1e-12)


def diversity_in_classes(samples: Features, real: Features, seed: int) -> float:
    """Return the mean distance between samples of the same class, relative to real images.

    It is 0 for a generator that returns one image of each class.
    """
    of_samples, of_real = (_mean_distance_in_classes(each, seed) for each in (samples, real))
    return of_samples / max(of_real, 1e-12)


def _mean_distance_in_classes(points: Features, seed: int) -> float:
    """Return the mean distance within classes, over the points of classes with at least two."""
    members = [np.flatnonzero(points.classes == index) for index in np.unique(points.classes)]
    members = [indices for indices in members if len(indices) > 1]
    if not members:
        return 0.0
    distances = [_mean_distance(points.values[indices], seed) for indices in members]
    return float(np.average(distances, weights=[len(indices) for indices in members]))


def _mean_distance(points: Array, seed: int) -> float:
    """Return the mean distance between each point [N, F] and another one chosen at random."""
    order = np.random.default_rng(seed).permutation(len(points))
    return float(np.linalg.norm(points[order] - points[np.roll(order, 1)], axis=1).mean())


def class_shares(classes: NDArray[np.int64], count: int) -> Array:
    """Return the share of each of `count` classes among class indices [N]."""
    return np.bincount(classes, minlength=count) / len(classes)


def entropy(shares: Array) -> float:
    """Return the entropy of class shares [K] in nats; it is log K for equal shares."""
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
