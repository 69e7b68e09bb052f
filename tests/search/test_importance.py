"""Importances in studies whose results are a known function of the parameters."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from latentlab.params.studies import StudyParams
from latentlab.search.importance import importances

pytestmark = pytest.mark.usefixtures("quiet")

RANGES = {"rate": FloatDistribution(0, 1), "decay": FloatDistribution(0, 1)}
ALL_RUNGS = (1, 2, 4)


def settings(**changes):
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in RANGES}
    given = {"trials": 40, "epochs": 4, "max_train_images": 10, "reduction_factor": 2}
    return StudyParams(**given | {"space": space} | changes)


def study_of(points, result, rungs_reached):
    """A study of trials with these parameters, each with a result at the rungs it reached."""
    study = optuna.create_study()
    for number, (rate, decay) in enumerate(points):
        values = {rung: result(rung, rate, decay) for rung in rungs_reached(number)}
        complete = 4 in values
        study.add_trial(
            create_trial(
                params={"rate": rate, "decay": decay},
                distributions=RANGES,
                intermediate_values={rung: v for rung, v in values.items() if rung < 4},
                value=values[4] if complete else None,
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
            )
        )
    return study


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(size=(40, 2)).tolist()


def test_importances_sum_to_one_and_the_range_that_matters_has_most_of_it(points):
    study = study_of(points, lambda rung, rate, decay: (rate - 0.3) ** 2, lambda number: ALL_RUNGS)

    shares, epochs = importances(study, settings())

    assert epochs == 4
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rate"] > 0.8


def test_trials_are_compared_at_the_highest_rung_that_half_of_them_reached(points):
    """One range matters at the first rung, the other one at the second."""

    def result(rung, rate, decay):
        return rate if rung == 1 else decay

    def half_reach_the_second(number):
        return ALL_RUNGS if number < 5 else (1, 2) if number < 20 else (1,)

    shares, epochs = importances(study_of(points, result, half_reach_the_second), settings())
    assert (epochs, shares["decay"] > 0.8) == (2, True)

    def fewer_reach_the_second(number):
        return (1, 2) if number < 19 else (1,)

    shares, epochs = importances(study_of(points, result, fewer_reach_the_second), settings())
    assert (epochs, shares["rate"] > 0.8) == (1, True)


def test_the_importance_is_that_for_good_results():
    """One range determines the lowest results, the other one the highest."""
    points = np.random.default_rng(0).uniform(size=(100, 2)).tolist()

    def result(rung, rate, decay):
        return 10 + decay if decay > 0.8 else rate - 10 if rate < 0.2 else 0.0

    study = study_of(points, result, lambda number: ALL_RUNGS)
    lowest, _ = importances(study, settings())
    highest, _ = importances(study, settings(objectives={"validation/accuracy": "maximize"}))

    assert lowest["rate"] > 0.6
    assert highest["decay"] > 0.6


def test_fewer_than_four_trials_have_no_importances(points):
    for count in (0, 3):
        study = study_of(points[:count], lambda *result: result[1], lambda number: ALL_RUNGS)
        assert importances(study, settings()) == ({}, 0)


def test_the_importance_of_a_range_with_a_single_value_is_zero():
    points = [(rate, 0.5) for rate in np.linspace(0, 1, 20).tolist()]
    study = study_of(points, lambda rung, rate, decay: rate, lambda number: ALL_RUNGS)

    shares, _ = importances(study, settings())

    assert shares.get("decay", 0.0) == 0.0
    assert shares["rate"] > 0


def test_without_any_variation_all_importances_are_zero():
    study = study_of([(0.5, 0.5)] * 8, lambda rung, rate, decay: rate, lambda number: (4,))

    shares, _ = importances(study, settings())

    assert not any(shares.values())
