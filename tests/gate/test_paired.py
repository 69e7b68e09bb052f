import numpy as np
import pytest

from latentlab.evaluation.examples import Examples
from latentlab.gate.paired import bootstrap, compare_examples
from latentlab.gate.policy import Policy

LEVEL = 0.01
MSE, ACCURACY = "evaluate/test/mse", "evaluate/test/accuracy"
POLICY = Policy.model_validate(
    {
        "metrics": {
            MSE: {"direction": "lower", "smallest_effect": 0},
            ACCURACY: {"direction": "higher", "smallest_effect": 0},
        }
    }
)


def examples(images="i", weights="w", **values):
    named = {f"evaluate/test/{name}": np.asarray(each) for name, each in values.items()}
    return Examples(named, dict.fromkeys(named, weights), images)


def compare(before, after, level=LEVEL):
    """Compare two arrays of squared errors."""
    return compare_examples(examples(mse=before), examples(mse=after), POLICY, level)[MSE]


def errors(images, seed=0):
    """Return squared errors of images that differ in difficulty."""
    return np.random.default_rng(seed).exponential(0.01, images)


def test_equal_results_are_no_change():
    before = errors(200)

    result = compare(before, before)

    assert (result.change, result.noise, result.p_value, result.n) == (0, 0, 1, 200)


def test_a_change_far_below_the_spread_between_images_is_detected():
    before = errors(2000)
    after = before + np.random.default_rng(1).normal(0.0001, 0.0005, 2000)

    result = compare(before, after)

    assert result.change == pytest.approx(0.0001, rel=0.3)
    assert result.after - result.before == pytest.approx(result.change)
    assert result.change > result.noise
    assert result.p_value < 0.001
    # the standard error of an unpaired comparison is larger than the change
    assert result.change < before.std() * np.sqrt(2 / 2000)


def test_the_noise_is_that_of_the_normal_distribution_for_many_images():
    before = errors(2000)
    after = before + np.random.default_rng(1).normal(0, 0.001, 2000)

    standard_error = (after - before).std(ddof=1) / np.sqrt(2000)
    assert compare(before, after).noise == pytest.approx(2.326 * standard_error, rel=0.1)


def test_correct_and_wrong_predictions_are_compared_in_their_own_direction():
    before, after = np.ones(1000, bool), np.ones(1000, bool)
    after[:10] = False

    worse = compare_examples(examples(accuracy=before), examples(accuracy=after), POLICY, LEVEL)
    better = compare_examples(examples(accuracy=after), examples(accuracy=before), POLICY, LEVEL)

    assert worse[ACCURACY].change == pytest.approx(0.01)
    assert worse[ACCURACY].p_value < LEVEL
    assert better[ACCURACY].change == pytest.approx(-0.01)
    assert better[ACCURACY].p_value > 0.99


def test_other_images_or_metrics_are_not_compared():
    before = examples(mse=errors(20))

    assert compare_examples(before, examples("other", mse=errors(20)), POLICY, LEVEL) == {}
    assert compare_examples(before, examples(accuracy=np.ones(20)), POLICY, LEVEL) == {}


def test_it_says_whether_the_weights_are_the_same():
    before = examples(mse=errors(20))
    same, other = (examples(weights=each, mse=errors(20, seed=1)) for each in ("w", "other"))

    assert compare_examples(before, same, POLICY, LEVEL)[MSE].same_weights
    assert not compare_examples(before, other, POLICY, LEVEL)[MSE].same_weights


def test_an_unchanged_model_causes_false_alarms_at_the_level_of_the_test():
    random = np.random.default_rng(3)
    alarms = 0
    for repetition in range(400):
        changes = random.normal(size=100)
        tested = bootstrap({"m": changes}, 0.05, resamples=500, seed=repetition)
        alarms += tested["m"][2] <= 0.05

    assert 0.02 < alarms / 400 < 0.08


def test_the_result_does_not_depend_on_other_metrics():
    changes = errors(50) - errors(50, seed=1)

    alone = bootstrap({"m": changes}, LEVEL)

    both = bootstrap({"a": errors(50, seed=2), "m": changes, "z": np.zeros(50)}, LEVEL)
    assert both["m"] == pytest.approx(alone["m"])
    assert both["z"] == (0, 0, 1)


@pytest.mark.parametrize("changes", [[1.0], [float("nan"), 2.0], [float("inf"), 2.0]])
def test_values_that_cannot_be_compared_are_rejected(changes):
    with pytest.raises(ValueError, match="at least two pairs of finite numbers"):
        bootstrap({"m": np.array(changes)}, LEVEL)
