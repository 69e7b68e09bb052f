"""Which ranges decide a result, of studies whose results are a formula."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from latentlab.params.studies import StudyParams
from latentlab.search.importance import importances

RANGES = {"rate": FloatDistribution(0, 1), "decay": FloatDistribution(0, 1)}


def settings(**changes):
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in RANGES}
    given = {"trials": 40, "epochs": 4, "images": 10, "reduction_factor": 2, "space": space}
    return StudyParams(**given | changes)


def view_of(drawn, result, reached):
    """A study of trials with these values, each reported at the rungs it reached."""
    view = optuna.create_study()
    for number, (rate, decay) in enumerate(drawn):
        values = {rung: result(rung, rate, decay) for rung in reached(number)}
        complete = 4 in values
        view.add_trial(
            create_trial(
                params={"rate": rate, "decay": decay},
                distributions=RANGES,
                intermediate_values={rung: v for rung, v in values.items() if rung < 4},
                value=values[4] if complete else None,
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
            )
        )
    return view


@pytest.fixture
def drawn():
    return np.random.default_rng(0).uniform(size=(40, 2)).tolist()


def test_they_share_the_whole_and_the_range_that_decides_has_most_of_it(drawn):
    view = view_of(drawn, lambda rung, rate, decay: (rate - 0.3) ** 2, lambda number: (1, 2, 4))

    shares, epochs = importances(view, settings())

    assert epochs == 4
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rate"] > 0.8


def test_trials_are_compared_at_the_deepest_rung_that_half_of_them_reached(drawn):
    """After one epoch the one range decides, after two the other."""

    def result(rung, rate, decay):
        return rate if rung == 1 else decay

    def half_to_the_second(number):
        return (1, 2, 4) if number < 5 else (1, 2) if number < 20 else (1,)

    shares, epochs = importances(view_of(drawn, result, half_to_the_second), settings())
    assert (epochs, shares["decay"] > 0.8) == (2, True)

    def fewer(number):
        return (1, 2) if number < 19 else (1,)

    shares, epochs = importances(view_of(drawn, result, fewer), settings())
    assert (epochs, shares["rate"] > 0.8) == (1, True)


def test_it_is_what_makes_results_good_that_counts():
    """One range makes the greatest results, the other the least."""
    drawn = np.random.default_rng(0).uniform(size=(100, 2)).tolist()

    def result(rung, rate, decay):
        return 10 + decay if decay > 0.8 else rate - 10 if rate < 0.2 else 0.0

    view = view_of(drawn, result, lambda number: (1, 2, 4))
    least, _ = importances(view, settings())
    greatest, _ = importances(view, settings(objectives={"validation/accuracy": "maximize"}))

    assert least["rate"] > 0.6
    assert greatest["decay"] > 0.6


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_trials_say_nothing(drawn, count):
    view = view_of(drawn[:count], lambda rung, rate, decay: rate, lambda number: (1, 2, 4))

    assert importances(view, settings()) == ({}, 0)


def test_a_range_of_one_value_has_no_part():
    drawn = [(rate, 0.5) for rate in np.linspace(0, 1, 20).tolist()]
    view = view_of(drawn, lambda rung, rate, decay: rate, lambda number: (1, 2, 4))

    shares, _ = importances(view, settings())

    assert shares.get("decay", 0.0) == 0.0
    assert shares["rate"] > 0


def test_where_nothing_varies_nothing_is_important():
    view = view_of([(0.5, 0.5)] * 8, lambda rung, rate, decay: rate, lambda number: (4,))

    shares, _ = importances(view, settings())

    assert not any(shares.values())
