"""The noise of a metric between runs, and the change that is allowed because of it.

A new run differs from the mean of n accepted runs by a Student t variable with n - 1 degrees of
freedom, times s * sqrt(1 + 1/n), if all of them are independent and normally distributed with the
same mean and standard deviation (the prediction interval, Hahn 1969).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIN_RUNS = 5
"""Runs from which the standard deviation is estimated; with fewer, the noise is unknown."""


@dataclass(frozen=True)
class Noise:
    """Mean, sample standard deviation and number of accepted values; one value has no deviation."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Noise":
        """Compute the noise of values from different runs."""
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), std, len(values))

    @property
    def known(self) -> bool:
        """Whether there are enough runs to estimate the standard deviation."""
        return self.n >= MIN_RUNS

    @property
    def error(self) -> float:
        """Standard error of the difference between a new run and the mean."""
        return self.std * math.sqrt(1 + 1 / self.n)

    def limit(self, level: float) -> float:
        """Return the change that a new run exceeds in one direction with probability `level`."""
        from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

        return float(stdtrit(self.n - 1, 1 - level)) * self.error

    def confidence(self, change: float) -> float:
        """Return the probability that noise alone changes the metric by less than `change`."""
        from scipy.special import stdtr

        if self.error == 0:
            return 0.5 if change == 0 else float(change > 0)
        return float(stdtr(self.n - 1, change / self.error))


def level_per_metric(false_alarms: float, metrics: int) -> float:
    """Return Bonferroni's level: all metrics together cause at most `false_alarms`.

    It holds for any dependence between metrics, most of which come from the same models. Holm's
    method would fail the gate in exactly the same cases, because its first step is this comparison,
    but its limits depend on the other metrics.
    """
    return false_alarms / max(metrics, 1)
