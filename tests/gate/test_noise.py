import numpy as np
import pytest
from scipy import stats

from latentlab.gate.noise import Noise, level_per_metric


def test_mean_standard_deviation_and_n_are_those_of_numpy():
    values = np.random.default_rng(0).normal(5, 1, 6)

    noise = Noise.of(values.tolist())

    assert (noise.n, noise.known) == (6, True)
    assert noise.mean == pytest.approx(np.mean(values))
    assert noise.std == pytest.approx(np.std(values, ddof=1))


def test_the_noise_of_fewer_than_five_runs_is_unknown():
    assert [Noise.of([1.0] * n).known for n in (1, 2, 4, 5)] == [False, False, False, True]


def test_the_limit_is_that_of_a_prediction_interval():
    noise = Noise(2.0, 0.5, 10)

    expected = stats.t(9).ppf(0.99) * 0.5 * np.sqrt(1.1)
    assert noise.limit(0.01) == pytest.approx(expected)
    assert noise.confidence(expected) == pytest.approx(0.99)
    assert noise.confidence(0.0) == 0.5


def test_runs_without_any_spread_allow_no_change():
    noise = Noise(2.0, 0.0, 5)

    assert noise.limit(0.01) == 0
    assert [noise.confidence(change) for change in (0.0, 1e-9)] == [0.5, 1.0]


def test_all_metrics_together_cause_at_most_the_intended_false_alarms():
    """Of independent metrics, which is the worst case, with a baseline of ten runs each."""
    random = np.random.default_rng(0)
    metrics, repetitions = 12, 4000
    level = level_per_metric(0.05, metrics)
    factor = Noise(0.0, 1.0, 10).limit(level) / np.sqrt(1.1)
    runs = random.normal(size=(repetitions, metrics, 11))
    accepted, new = runs[..., :10], runs[..., 10]

    alarms = new - accepted.mean(-1) > factor * np.sqrt(1.1) * accepted.std(-1, ddof=1)

    assert level == 0.05 / 12
    assert 0.04 < alarms.any(1).mean() < 0.058
