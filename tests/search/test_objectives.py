import math
import random
from itertools import product

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from latentlab.common.errors import EnvironmentProblem
from latentlab.params.studies import StudyParams
from latentlab.search.objectives import best_of, pareto_front, results_of
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, RUNNING, Trial
from latentlab.training.jobs import Outcome

pytestmark = pytest.mark.usefixtures("quiet")

FIGURES = ("validation/mse", "parameters", "latency")
STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}


def settings_for(*directions, tolerance=0.0):
    objectives = dict(zip(FIGURES, directions, strict=False))
    return StudyParams(
        trials=1,
        epochs=1,
        images=1,
        space={},
        pruner="none",
        objectives=objectives,
        tolerance=tolerance,
    )


def trial(number, *results, state=COMPLETE, reason=""):
    return Trial(number, {}, {}, state, reason, list(results))


def complete(*results):
    return [trial(number, *each) for number, each in enumerate(results)]


def random_trials(seed, count, objectives, levels):
    """Trials whose results are `levels` different numbers: the fewer, the more are equal."""
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


def beats(one, other, directions):
    """Nowhere worse and somewhere better, spelled out."""
    triples = list(zip(one.results, other.results, directions, strict=True))
    somewhere_better = any(better(a, b, direction) for a, b, direction in triples)
    somewhere_worse = any(better(b, a, direction) for a, b, direction in triples)
    return somewhere_better and not somewhere_worse


def numbers(trials):
    return [each.number for each in trials]


EVERY_DIRECTION = [
    directions
    for count in (1, 2, 3)
    for directions in product(["minimize", "maximize"], repeat=count)
]


class TestTheFront:
    @pytest.mark.parametrize("directions", EVERY_DIRECTION)
    @pytest.mark.parametrize("levels", [4, 1000])
    def test_it_has_every_complete_trial_that_no_other_beats(self, directions, levels):
        for seed in range(5):
            trials = random_trials(seed, 40, len(directions), levels)
            done = [each for each in trials if each.state == COMPLETE]
            unbeaten = [
                each for each in done if not any(beats(other, each, directions) for other in done)
            ]

            assert pareto_front(trials, settings_for(*directions)) == unbeaten

    @pytest.mark.parametrize("directions", [each for each in EVERY_DIRECTION if len(each) > 1])
    @pytest.mark.parametrize("levels", [4, 1000])
    def test_it_is_that_of_optuna(self, directions, levels):
        for seed in range(5):
            trials = random_trials(seed, 40, len(directions), levels)
            study = optuna.create_study(directions=directions)
            for each in trials:
                values = each.results if each.state == COMPLETE else None
                study.add_trial(create_trial(state=STATES[each.state], values=values))

            front = pareto_front(trials, settings_for(*directions))

            assert numbers(front) == sorted(numbers(study.best_trials))

    def test_of_one_objective_it_is_the_best_and_its_equals(self):
        trials = complete([0.3], [0.1], [0.2], [0.1])
        assert numbers(pareto_front(trials, settings_for("minimize"))) == [1, 3]
        assert numbers(pareto_front(trials, settings_for("maximize"))) == [0]

    def test_equals_do_not_beat_each_other(self):
        trials = complete([0.1, 5], [0.1, 5], [0.1, 6])
        assert numbers(pareto_front(trials, settings_for("minimize", "minimize"))) == [0, 1]

    def test_what_was_pruned_or_failed_or_runs_is_not_in_it_and_beats_nobody(self):
        trials = [trial(0, 0.5)]
        trials += [
            trial(number, 0.1, state=state)
            for number, state in enumerate([PRUNED, FAILED, RUNNING], start=1)
        ]
        assert numbers(pareto_front(trials, settings_for("minimize"))) == [0]

    def test_it_keeps_the_order_in_which_trials_came(self):
        trials = [trial(7, 0.1, 3), trial(2, 0.3, 1), trial(5, 0.2, 2)]
        assert numbers(pareto_front(trials, settings_for("minimize", "minimize"))) == [7, 2, 5]

    def test_of_no_trials_it_is_empty(self):
        assert pareto_front([], settings_for("minimize")) == []


class TestTheBest:
    def test_of_one_objective_it_is_the_least(self):
        assert best_of(complete([0.3], [0.1], [0.2]), settings_for("minimize")).number == 1

    def test_or_the_greatest(self):
        assert best_of(complete([0.3], [0.9], [0.2]), settings_for("maximize")).number == 1

    def test_of_equals_it_is_the_earliest(self):
        trials = [trial(5, 0.1, 3), trial(2, 0.1, 3), trial(9, 0.1, 3)]

        assert best_of(trials, settings_for("minimize", "minimize")).number == 2
        assert best_of([trial(4, 0.1), trial(3, 0.1)], settings_for("minimize")).number == 3

    def test_a_trial_that_was_pruned_is_never_chosen(self):
        trials = [trial(0, 0.1, state=PRUNED), trial(1, 0.2), trial(2, state=FAILED)]
        assert best_of(trials, settings_for("minimize")).number == 1

    def test_tolerance_changes_nothing_for_one_objective(self):
        trials = complete([0.110], [0.100], [0.105])
        assert best_of(trials, settings_for("minimize", tolerance=0.5)).number == 1

    def test_without_tolerance_the_first_objective_decides(self):
        trials = complete([0.100, 900], [0.101, 10])
        assert best_of(trials, settings_for("minimize", "minimize")).number == 0

    @pytest.mark.parametrize(
        ("tolerance", "chosen"), [(0.0, 0), (0.009, 0), (0.011, 1), (0.05, 2), (10.0, 3)]
    )
    def test_among_the_close_ones_the_second_decides(self, tolerance, chosen):
        trials = complete([0.100, 900], [0.101, 500], [0.104, 400], [0.200, 1])
        settings = settings_for("minimize", "minimize", tolerance=tolerance)

        assert best_of(trials, settings).number == chosen

    @pytest.mark.parametrize(("tolerance", "chosen"), [(0.0, 0), (0.04, 0), (0.06, 1), (0.6, 2)])
    def test_close_to_the_greatest_is_less_by_a_share_of_it(self, tolerance, chosen):
        trials = complete([0.80, 900], [0.76, 500], [0.40, 400])
        settings = settings_for("maximize", "minimize", tolerance=tolerance)

        assert best_of(trials, settings).number == chosen

    @pytest.mark.parametrize(("tolerance", "chosen"), [(0.0, 0), (0.06, 1)])
    def test_close_to_a_negative_best_is_a_share_of_its_size(self, tolerance, chosen):
        trials = complete([-1.00, 900], [-0.95, 500], [-0.5, 400])
        settings = settings_for("minimize", "minimize", tolerance=tolerance)

        assert best_of(trials, settings).number == chosen

    def test_nothing_but_zero_is_close_to_zero(self):
        trials = complete([0.0, 900], [1e-9, 500])
        assert best_of(trials, settings_for("minimize", "minimize", tolerance=1.0)).number == 0

    def test_where_the_second_is_equal_the_third_decides(self):
        trials = complete([0.100, 5, 9], [0.102, 5, 7], [0.101, 5, 8], [0.104, 6, 1])
        directions = ["minimize"] * 3

        assert best_of(trials, settings_for(*directions, tolerance=0.05)).number == 1

    def test_a_close_one_that_another_beats_is_not_chosen(self):
        trials = complete([0.102, 500], [0.101, 500], [0.100, 900])
        settings = settings_for("minimize", "minimize", tolerance=0.05)

        assert best_of(trials, settings).number == 1

    @pytest.mark.parametrize("directions", EVERY_DIRECTION)
    @pytest.mark.parametrize("tolerance", [0.0, 0.2])
    def test_it_does_what_its_docstring_says(self, directions, tolerance):
        settings = settings_for(*directions, tolerance=tolerance)
        for seed in range(10):
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

    def test_it_does_not_depend_on_the_order_of_the_trials(self):
        trials = random_trials(0, 30, 2, 4)
        settings = settings_for("minimize", "maximize", tolerance=0.3)
        shuffled = random.Random(1).sample(trials, len(trials))

        assert best_of(trials, settings) == best_of(shuffled, settings)

    def test_where_no_trial_is_complete_each_reason_is_told_once(self):
        trials = [
            trial(0, state=PRUNED, reason="the image vanishes"),
            trial(1, state=FAILED, reason="the loss is not finite"),
            trial(2, state=PRUNED, reason="the image vanishes"),
        ]

        with pytest.raises(EnvironmentProblem) as caught:
            best_of(trials, settings_for("minimize"))

        assert caught.value.exit_code == 4
        message = str(caught.value)
        assert "none of 3 trials completed" in message
        assert message.count("the image vanishes") == 1
        assert message.count("the loss is not finite") == 1

    def test_where_there_is_no_trial_there_is_none(self):
        with pytest.raises(EnvironmentProblem, match="none of 0 trials"):
            best_of([], settings_for("minimize"))


def outcome(losses, best_epoch, **figures):
    history = [{"validation/mse": loss, "validation/loss": 10 * loss} for loss in losses]
    return Outcome("x", history, best_epoch, 7, 0.0, 0.0, None, figures=figures)


class TestResults:
    def test_they_are_of_the_weights_that_would_be_kept(self):
        assert results_of([outcome([0.3, 0.1, 0.2], 2)], ["validation/mse"]) == [0.1]

    def test_the_epoch_that_is_kept_is_not_always_the_best_of_each_figure(self):
        assert results_of([outcome([0.3, 0.1, 0.2], 3)], ["validation/mse"]) == [0.2]

    def test_they_are_the_mean_over_folds_each_at_its_own_best_epoch(self):
        folds = [outcome([0.3, 0.1], 2), outcome([0.2, 0.5], 1), outcome([0.6], 1)]
        assert results_of(folds, ["validation/mse"]) == [pytest.approx(0.3)]

    def test_figures_of_the_network_are_results_too(self):
        folds = [outcome([0.1], 1, parameters=10, latency=1.0)]
        folds += [outcome([0.1], 1, parameters=10, latency=2.0)]

        assert results_of(folds, ["parameters", "latency"]) == [10, 1.5]

    def test_they_come_in_the_order_of_the_objectives(self):
        single = [outcome([0.25], 1, parameters=10)]

        assert results_of(single, ["parameters", "validation/loss", "validation/mse"]) == [
            10,
            2.5,
            0.25,
        ]

    def test_all_are_numbers(self):
        results = results_of([outcome([0.25], 1, parameters=10)], ["parameters", "validation/mse"])
        assert all(math.isfinite(result) and isinstance(result, float) for result in results)
