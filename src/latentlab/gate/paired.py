"""A paired bootstrap test of two models on the same images.

Differences per image cancel how difficult the images are, so this detects much smaller changes than
a comparison of two means. It measures sampling noise (other test images), not seed noise (another
training): a significant result says that these two models differ, not that the change of the
program caused it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 10_000
VALUES_AT_ONCE = 10_000_000
"""Drawn values that are held in memory at the same time: 80 MB."""


@dataclass(frozen=True)
class PairedChange:
    """The mean change per image, positive if it became worse, and its sampling noise.

    `noise` is the change that other images exceed with the level of the test if nothing changed.
    `p_value` is the probability of at least this change if nothing changed; with `resamples`
    resamples it is never smaller than 1 / (resamples + 1).
    """

    change: float
    noise: float
    p_value: float
    n: int


def compare_pairs(
    before: Sequence[float],
    after: Sequence[float],
    direction: Literal["lower", "higher"],
    level: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedChange:
    """Test whether results per image became worse, with a bootstrap of their differences.

    `before` and `after` have one value per image, in the same order. `direction` is the better one,
    and `level` the probability of a false alarm. The means of resampled differences, centered at
    zero, are their distribution without a change (Efron and Tibshirani 1993, section 16.4). Raises
    ValueError for different numbers of values, fewer than two, or values that are not finite.
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"at least two pairs are needed, but shapes are {first.shape}, {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("all values must be finite numbers")
    worse = second - first if direction == "lower" else first - second
    change = float(worse.mean())
    means = _resampled_means(worse - change, resamples, np.random.default_rng(seed))
    # the tolerance of rounding: without any difference, all means are zero up to rounding
    exceeding = int((means >= change - 1e-12 * np.abs(worse).max()).sum())
    noise = float(np.quantile(means, 1 - level))
    return PairedChange(change, noise, (1 + exceeding) / (1 + resamples), len(worse))


def _resampled_means(values: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return the means of resamples with replacement."""
    rows = max(1, VALUES_AT_ONCE // len(values))
    means = [
        values[random.integers(0, len(values), (min(rows, resamples - start), len(values)))].mean(1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(means)
