"""A paired bootstrap test of two models on the same images.

Differences per image cancel how difficult the images are, so this detects much smaller changes than
a comparison of two means. It measures sampling noise (other test images), not seed noise (another
training). Two models with the same weights can differ only by how they are used, so then the test
decides; otherwise a significant result says that the models differ, but not why.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latentlab.evaluation.examples import Examples
from latentlab.gate.policy import Policy

RESAMPLES = 5_000
BEYOND = 20
"""Resamples, at least, that are expected beyond the limit of a level."""


@dataclass(frozen=True)
class PairedChange:
    """The mean change per image, positive if it became worse, and its sampling noise.

    `before` and `after` are the means of both sides. `noise` is the change that other images exceed
    with the level of the test if nothing changed. `p_value` is the probability of at least this
    change if nothing changed; with R resamples it is never smaller than 1 / (R + 1).
    """

    before: float
    after: float
    change: float
    noise: float
    p_value: float
    n: int
    same_weights: bool


def compare_examples(
    before: Examples, after: Examples, policy: Policy, level: float
) -> dict[str, PairedChange]:
    """Compare results per image by metric; return nothing if the images are not the same."""
    if before.images != after.images:
        return {}
    worse = {}
    for metric in before.values.keys() & after.values.keys():
        if rule := policy.rule_of(metric):
            sign = 1 if rule.direction == "lower" else -1
            first, second = (side.values[metric].astype(np.float64) for side in (before, after))
            worse[metric] = sign * (second - first)
    return {
        metric: PairedChange(
            float(before.values[metric].mean(dtype=np.float64)),
            float(after.values[metric].mean(dtype=np.float64)),
            *test,
            n=len(worse[metric]),
            same_weights=before.weights[metric] == after.weights[metric],
        )
        for metric, test in bootstrap(worse, level).items()
    }


def bootstrap(
    worse: Mapping[str, np.ndarray], level: float, resamples: int | None = None, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Return the mean change, its noise and its p-value for changes per image [N] by metric.

    `level` is the probability of a false alarm. The means of resampled changes, centered at zero,
    are their distribution without a change (Efron and Tibshirani 1993, section 16.4). All metrics
    use the same resamples. Raises ValueError for fewer than two images, different numbers of them,
    or values that are not finite.
    """
    names = sorted(name for name in worse if worse[name].any())
    unchanged = dict.fromkeys(worse, (0.0, 0.0, 1.0))
    if not names:
        return unchanged
    changes = np.stack([worse[name] for name in names], 1)
    if len(changes) < 2 or not np.isfinite(changes).all():
        raise ValueError("at least two pairs of finite numbers are needed")
    means = changes.mean(0)
    resamples = resamples or max(RESAMPLES, math.ceil(BEYOND / level))
    resampled = _resampled_means(changes - means, resamples, np.random.default_rng(seed))
    noise = np.quantile(resampled, 1 - level, axis=0)
    p_values = (1 + (resampled >= means).sum(0)) / (1 + resamples)
    tested = zip(means.tolist(), noise.tolist(), p_values.tolist(), strict=True)
    return unchanged | dict(zip(names, tested, strict=True))


def _resampled_means(values: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return the means [R, M] of resamples of the rows of values [N, M] with replacement."""
    n = len(values)
    counts = (np.bincount(random.integers(n, size=n), minlength=n) for _ in range(resamples))
    return np.stack([each @ values for each in counts]) / n
