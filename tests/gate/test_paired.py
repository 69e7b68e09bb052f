import numpy as np
import pytest

from latentlab.gate.paired import compare_pairs

LEVEL = 0.01


def errors(images, seed=0):
    """Return squared errors of images that differ in difficulty."""
    return np.random.default_rng(seed).exponential(0.01, images)


def test_equal_results_are_no_change():
    before = errors(200)

    result = compare_pairs(before, before, "lower", LEVEL)

    assert (result.change, result.noise, result.p_value, result.n) == (0, 0, 1, 200)


def test_a_change_far_below_the_spread_between_images_is_detected():
    before = errors(2000)
    after = before + np.random.default_rng(1).normal(0.0001, 0.0005, 2000)

    result = compare_pairs(before, after, "lower", LEVEL)

    assert result.change == pytest.approx(0.0001, rel=0.3)
    assert result.change > result.noise
    assert result.p_value < 0.001
    # the standard error of an unpaired comparison is larger than the change
    assert result.change < before.std() * np.sqrt(2 / 2000)


def test_the_noise_is_that_of_the_normal_distribution_for_many_images():
    before = errors(2000)
    after = before + np.random.default_rng(1).normal(0, 0.001, 2000)

    result = compare_pairs(before, after, "lower", LEVEL)

    standard_error = (after - before).std(ddof=1) / np.sqrt(2000)
    assert result.noise == pytest.approx(2.326 * standard_error, rel=0.1)


def test_correct_and_wrong_predictions_can_be_compared():
    before = np.ones(1000)
    after = np.ones(1000)
    after[:10] = 0

    worse = compare_pairs(before, after, "higher", LEVEL)
    better = compare_pairs(after, before, "higher", LEVEL)

    assert worse.change == pytest.approx(0.01)
    assert worse.p_value < LEVEL
    assert better.change == pytest.approx(-0.01)
    assert better.p_value > 0.99


def test_mirroring_values_and_direction_gives_the_same_result():
    random = np.random.default_rng(2)
    for _ in range(20):
        before, after = random.normal(size=(2, 50))
        lower = compare_pairs(before, after, "lower", LEVEL, resamples=500)
        higher = compare_pairs(-before, -after, "higher", LEVEL, resamples=500)
        assert lower == higher


def test_an_unchanged_model_causes_false_alarms_at_the_level_of_the_test():
    random = np.random.default_rng(3)
    alarms = 0
    for repetition in range(400):
        before, after = random.normal(size=(2, 100))
        result = compare_pairs(before, after, "lower", 0.05, resamples=500, seed=repetition)
        alarms += result.p_value <= 0.05

    assert 0.02 < alarms / 400 < 0.08


def test_the_result_is_deterministic_and_independent_of_the_memory_limit(monkeypatch):
    before, after = errors(50), errors(50, seed=1)
    expected = compare_pairs(before, after, "lower", LEVEL, resamples=100)
    monkeypatch.setattr("latentlab.gate.paired.VALUES_AT_ONCE", 50 * 7)

    assert compare_pairs(before, after, "lower", LEVEL, resamples=100) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []),
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0]),
        ([[1.0, 2.0]], [[1.0, 2.0]]),
        ([1.0, float("nan")], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, float("inf")]),
    ],
)
def test_values_that_are_no_pairs_are_rejected(before, after):
    with pytest.raises(ValueError, match=r"at least two pairs|finite"):
        compare_pairs(before, after, "lower", LEVEL)
