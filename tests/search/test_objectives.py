import math
import random
from itertools import product

import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.params.studies import StudyParams
from latentlab.search.objectives import best_of, best_so_far, pareto_front, results_of
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, RUNNING, Trial
from latentlab.training.jobs import Outcome

pytestmark = pytest.mark.usefixtures("quiet")

OBJECTIVES = ("validation/mse", "parameters", "latency")


def settings_for(*directions, tolerance=0.0):
    return StudyParams(
        trials=1,
        epochs=1,
        max_train_images=1,
        space={},
        pruner="none",
        objectives=dict(zip(OBJECTIVES, directions, strict=False)),
        tolerance=tolerance,
    )


def trial(number, *results, state=COMPLETE, reason=""):
    return Trial(number, {}, {}, state, reason, list(results))


def complete(*results):
    return [trial(number, *each) for number, each in enumerate(results)]


def random_trials(seed, count, objectives, levels):
    """Trials with `levels` distinct results: few levels give many ties."""
    generator = random.Random(seed)
    return [
        trial(
            number,
            *(generator.randrange(levels) / levels - 0.5 for _ in range(objectives)),
            state=generator.choice([COMPLETE, COMPLETE, COMPLETE, PRUNED, FAILED]),
        )
        for number in range(count)
    ]


def better(one, other, direction):
    return one < other if direction == "minimize" else one > other


def dominates(one, other, directions):
    triples = list(zip(one.results, other.results, directions, strict=True))
    somewhere_better = any(better(a, b, direction) for a, b, direction in triples)
    somewhere_worse = any(better(b, a, direction) for a, b, direction in triples)
    return somewhere_better and not somewhere_worse


def numbers(trials):
    return [each.number for each in trials]


ALL_DIRECTIONS = [
    directions
    for count in (1, 2, 3)
    for directions in product(["minimize", "maximize"], repeat=count)
]


class TestParetoFront:
    def test_contains_every_complete_trial_that_no_other_dominates(self):
        for directions, levels, seed in product(ALL_DIRECTIONS, [4, 1000], range(3)):
            trials = random_trials(seed, 40, len(directions), levels)
            done = [each for each in trials if each.state == COMPLETE]
            expected = [
                each
                for each in done
                if not any(dominates(other, each, directions) for other in done)
            ]

            assert pareto_front(trials, settings_for(*directions)) == expected

    def test_of_one_objective_is_the_best_trial_and_its_ties(self):
        trials = complete([0.3], [0.1], [0.2], [0.1])
        assert numbers(pareto_front(trials, settings_for("minimize"))) == [1, 3]
        assert numbers(pareto_front(trials, settings_for("maximize"))) == [0]

    def test_contains_all_trials_with_equal_results(self):
        trials = complete([0.1, 5], [0.1, 5], [0.1, 6])
        assert numbers(pareto_front(trials, settings_for("minimize", "minimize"))) == [0, 1]

    def test_ignores_trials_that_are_not_complete(self):
        trials = [trial(0, 0.5)]
        trials += [
            trial(number, 0.1, state=state)
            for number, state in enumerate([PRUNED, FAILED, RUNNING], start=1)
        ]
        assert numbers(pareto_front(trials, settings_for("minimize"))) == [0]

    def test_keeps_the_order_of_the_trials(self):
        trials = [trial(7, 0.1, 3), trial(2, 0.3, 1), trial(5, 0.2, 2)]
        assert numbers(pareto_front(trials, settings_for("minimize", "minimize"))) == [7, 2, 5]

    def test_accepts_infinite_results(self):
        trials = complete([math.inf, 1], [0.1, 2], [math.inf, 3])
        assert numbers(pareto_front(trials, settings_for("minimize", "minimize"))) == [0, 1]

    def test_without_trials_is_empty(self):
        assert pareto_front([], settings_for("minimize")) == []


class TestBestTrial:
    def test_has_the_best_value_of_a_single_objective(self):
        trials = complete([0.3], [0.1], [0.9])
        assert best_of(trials, settings_for("minimize")).number == 1
        assert best_of(trials, settings_for("maximize")).number == 2

    def test_is_the_earliest_of_equal_trials(self):
        trials = [trial(5, 0.1, 3), trial(2, 0.1, 3), trial(9, 0.1, 3)]

        assert best_of(trials, settings_for("minimize", "minimize")).number == 2
        assert best_of([trial(4, 0.1), trial(3, 0.1)], settings_for("minimize")).number == 3

    def test_is_never_a_pruned_trial(self):
        trials = [trial(0, 0.1, state=PRUNED), trial(1, 0.2), trial(2, state=FAILED)]
        assert best_of(trials, settings_for("minimize")).number == 1

    def test_of_a_single_objective_does_not_depend_on_the_tolerance(self):
        trials = complete([0.110], [0.100], [0.105])
        assert best_of(trials, settings_for("minimize", tolerance=0.5)).number == 1

    def test_without_tolerance_is_decided_by_the_first_objective(self):
        trials = complete([0.100, 900], [0.101, 10])
        assert best_of(trials, settings_for("minimize", "minimize")).number == 0

    def test_within_the_tolerance_is_decided_by_the_second_objective(self):
        trials = complete([0.100, 900], [0.101, 500], [0.104, 400], [0.200, 1])
        for tolerance, best in {0.0: 0, 0.009: 0, 0.011: 1, 0.05: 2, 10.0: 3}.items():
            settings = settings_for("minimize", "minimize", tolerance=tolerance)
            assert best_of(trials, settings).number == best, tolerance

    def test_tolerance_is_a_fraction_of_the_best_value_also_when_maximizing(self):
        trials = complete([0.80, 900], [0.76, 500], [0.40, 400])
        for tolerance, best in {0.0: 0, 0.04: 0, 0.06: 1, 0.6: 2}.items():
            settings = settings_for("maximize", "minimize", tolerance=tolerance)
            assert best_of(trials, settings).number == best, tolerance

    def test_tolerance_is_a_fraction_of_the_absolute_value_of_a_negative_best_value(self):
        trials = complete([-1.00, 900], [-0.95, 500], [-0.5, 400])
        for tolerance, best in {0.0: 0, 0.06: 1}.items():
            settings = settings_for("minimize", "minimize", tolerance=tolerance)
            assert best_of(trials, settings).number == best, tolerance

    def test_tolerance_around_zero_is_zero(self):
        trials = complete([0.0, 900], [1e-9, 500])
        assert best_of(trials, settings_for("minimize", "minimize", tolerance=1.0)).number == 0

    def test_with_equal_second_objectives_is_decided_by_the_third(self):
        trials = complete([0.100, 5, 9], [0.102, 5, 7], [0.101, 5, 8], [0.104, 6, 1])
        directions = ["minimize"] * 3

        assert best_of(trials, settings_for(*directions, tolerance=0.05)).number == 1

    def test_is_not_dominated(self):
        trials = complete([0.102, 500], [0.101, 500], [0.100, 900])
        settings = settings_for("minimize", "minimize", tolerance=0.05)

        assert best_of(trials, settings).number == 1

    def test_agrees_with_the_definition_on_random_trials(self):
        for directions, tolerance, seed in product(ALL_DIRECTIONS, [0.0, 0.2], range(5)):
            settings = settings_for(*directions, tolerance=tolerance)
            trials = random_trials(seed, 20, len(directions), 6)
            front = pareto_front(trials, settings)
            signs = [1 if direction == "minimize" else -1 for direction in directions]
            best = min(signs[0] * each.results[0] for each in front)
            close = [
                each
                for each in front
                if signs[0] * each.results[0] - best <= tolerance * abs(best) + 1e-12
            ]
            for position in (*range(1, len(directions)), 0):
                least = min(signs[position] * each.results[position] for each in close)
                close = [e for e in close if signs[position] * e.results[position] == least]

            assert best_of(trials, settings).number == min(numbers(close))

    def test_does_not_depend_on_the_order_of_the_trials(self):
        trials = random_trials(0, 30, 2, 4)
        settings = settings_for("minimize", "maximize", tolerance=0.3)
        shuffled = random.Random(1).sample(trials, len(trials))

        assert best_of(trials, settings) == best_of(shuffled, settings)

    def test_of_each_prefix_is_the_best_so_far(self):
        settings = settings_for("minimize", "maximize", tolerance=0.3)
        trials = [trial(0, state=FAILED), *random_trials(0, 30, 2, 4)]
        done = [
            [each for each in trials[: end + 1] if each.state == COMPLETE]
            for end in range(len(trials))
        ]

        expected = [best_of(prefix, settings) if prefix else None for prefix in done]
        assert list(best_so_far(trials, settings)) == expected
        assert expected[0] is None

    def test_without_a_complete_trial_is_an_error_with_each_reason_once(self, message):
        trials = [
            trial(0, state=PRUNED, reason="the image vanishes"),
            trial(1, state=FAILED, reason="the loss is not finite"),
            trial(2, state=PRUNED, reason="the image vanishes"),
        ]

        with pytest.raises(EnvironmentProblem) as error:
            best_of(trials, settings_for("minimize"))

        assert error.value.exit_code == 4
        message("search/no complete trial", error.value)
        with pytest.raises(EnvironmentProblem):
            best_of([], settings_for("minimize"))


def outcome(losses, best_epoch, **cost):
    history = [{"validation/mse": loss, "validation/loss": 10 * loss} for loss in losses]
    return Outcome("x", history, best_epoch, 7, 0.0, 0.0, None, cost=cost)


class TestResults:
    def test_are_those_of_the_best_epoch_of_the_training(self):
        assert results_of([outcome([0.3, 0.1, 0.2], 2)], ["validation/mse"]) == [0.1]
        assert results_of([outcome([0.3, 0.1, 0.2], 3)], ["validation/mse"]) == [0.2]

    def test_are_averaged_over_folds_each_at_its_own_best_epoch(self):
        folds = [outcome([0.3, 0.1], 2), outcome([0.2, 0.5], 1), outcome([0.6], 1)]
        assert results_of(folds, ["validation/mse"]) == [pytest.approx(0.3)]

    def test_include_the_cost_of_the_network(self):
        folds = [outcome([0.1], 1, parameters=10, latency=1.0)]
        folds += [outcome([0.1], 1, parameters=10, latency=2.0)]

        assert results_of(folds, ["parameters", "latency"]) == [10, 1.5]

    def test_are_floats_in_the_order_of_the_objectives(self):
        single = [outcome([0.25], 1, parameters=10)]

        results = results_of(single, ["parameters", "validation/loss", "validation/mse"])

        assert results == [10, 2.5, 0.25]
        assert all(isinstance(result, float) for result in results)
