from itertools import pairwise, product

import pytest
from pydantic import ValidationError

from latentlab.params.studies import SearchParams, StudyParams

INTEGERS = {"type": "int", "low": 1, "high": 4}
FLOATS = {"type": "float", "low": 0.0, "high": 1.0}
STEPS = {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5}
CHOICES = {"type": "categorical", "choices": ["adam", "sgd"]}
SETTINGS = {
    "trials": 4,
    "epochs": 9,
    "max_train_images": 100,
    "space": {"train.batch_size": INTEGERS},
}
POINTS = {"train.batch_size": INTEGERS, "train.l1": STEPS, "train.optimizer": CHOICES}
TWO_OBJECTIVES = {"validation/mse": "minimize", "parameters": "minimize"}


def study(**changes):
    return StudyParams(**SETTINGS | changes)


def search(**changes):
    return SearchParams(**SETTINGS | changes)


def refusal(make, **changes):
    with pytest.raises(ValidationError) as caught:
        make(**changes)
    return str(caught.value)


class TestRungs:
    @pytest.mark.parametrize(
        ("epochs", "min_epochs", "reduction_factor", "rungs"),
        [
            (9, 1, 3, [1, 3, 9]),
            (10, 1, 3, [1, 3, 9, 10]),
            (20, 1, 3, [1, 3, 9, 20]),
            (45, 5, 3, [5, 15, 45]),
            (8, 1, 2, [1, 2, 4, 8]),
            (100, 10, 10, [10, 100]),
            (7, 2, 4, [2, 7]),
            (2, 1, 3, [1, 2]),
            (1, 1, 3, [1]),
            (9, 9, 3, [9]),
            (4, 9, 3, [4]),
        ],
    )
    @pytest.mark.parametrize("pruner", ["halving", "median"])
    def test_each_is_reduction_times_the_one_before_and_the_last_is_all(
        self, pruner, epochs, min_epochs, reduction_factor, rungs
    ):
        settings = study(
            epochs=epochs, min_epochs=min_epochs, reduction_factor=reduction_factor, pruner=pruner
        )
        assert settings.rungs == rungs

    def test_without_a_pruner_there_is_one(self):
        assert study(epochs=9, pruner="none").rungs == [9]

    def test_they_always_rise_to_all_epochs(self):
        for epochs, min_epochs, reduction in product(range(1, 30), range(1, 12), (2, 3, 5)):
            rungs = study(epochs=epochs, min_epochs=min_epochs, reduction_factor=reduction).rungs

            assert rungs[-1] == epochs
            assert all(one < other for one, other in pairwise(rungs))


class TestObjectives:
    def test_without_a_word_it_is_the_validation_loss(self):
        assert study().objectives == {"validation/loss": "minimize"}

    def test_they_stay_in_the_order_of_the_file(self):
        objectives = {
            "parameters": "minimize",
            "validation/accuracy": "maximize",
            "latency": "minimize",
        }
        assert list(study(objectives=objectives, pruner="none").objectives) == list(objectives)

    @pytest.mark.parametrize("pruner", ["halving", "median"])
    def test_several_are_not_pruned(self, pruner):
        told = refusal(study, objectives=TWO_OBJECTIVES, pruner=pruner)
        assert "with more than one objective nothing is pruned: write pruner: none" in told

    def test_several_are_not_pruned_without_a_word_either(self):
        assert "write pruner: none" in refusal(study, objectives=TWO_OBJECTIVES)

    @pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
    def test_several_without_a_pruner(self, sampler):
        settings = study(objectives=TWO_OBJECTIVES, pruner="none", sampler=sampler)
        assert settings.objectives == TWO_OBJECTIVES

    @pytest.mark.parametrize(
        ("objectives", "told"),
        [
            ({}, "at least 1 item"),
            (dict.fromkeys([*TWO_OBJECTIVES, "latency", "operations"], "minimize"), "at most 3"),
            ({"validation/mae": "minimize"}, "validation/mse"),
            ({"test/mse": "minimize"}, "validation/mse"),
            ({"validation/mse": "min"}, "'minimize' or 'maximize'"),
            (["validation/mse"], "dictionary"),
        ],
    )
    def test_what_is_no_objective(self, objectives, told):
        assert told in refusal(study, objectives=objectives, pruner="none")


class TestCmaEs:
    def test_it_takes_two_ranges_of_numbers_and_choices_beside_them(self):
        space = {"train.batch_size": INTEGERS, "train.l1": FLOATS, "train.optimizer": CHOICES}
        assert study(sampler="cma-es", space=space).sampler == "cma-es"

    def test_ranges_of_a_list_count_each(self):
        assert study(sampler="cma-es", space={"finetune.head": [INTEGERS, INTEGERS]})

    @pytest.mark.parametrize(
        "space",
        [
            {},
            {"train.l1": FLOATS},
            {"train.l1": FLOATS, "train.optimizer": CHOICES},
            {"train.l1": FLOATS, "finetune.head": [CHOICES, CHOICES]},
        ],
    )
    def test_it_needs_two_ranges_of_numbers(self, space):
        told = refusal(study, sampler="cma-es", space=space)
        assert "cma-es needs at least two ranges of numbers, and none with `when`" in told

    @pytest.mark.parametrize("listed", [False, True])
    def test_it_knows_no_conditions(self, listed):
        when = FLOATS | {"when": {"train.batch_size": 1}}
        space = {"train.batch_size": INTEGERS, "train.dropout": FLOATS}
        space["train.l1"] = [when] if listed else when

        assert "none with `when`" in refusal(study, sampler="cma-es", space=space)

    def test_it_knows_one_objective(self):
        space = {"train.batch_size": INTEGERS, "train.l1": FLOATS}
        changes = {"sampler": "cma-es", "objectives": TWO_OBJECTIVES, "pruner": "none"}

        assert "cma-es knows one objective; write tpe" in refusal(study, space=space, **changes)


class TestGrid:
    @pytest.mark.parametrize("trials", [1, 23, 24])
    def test_it_may_be_walked_in_part_or_whole(self, trials):
        assert study(sampler="grid", space=POINTS, trials=trials).trials == trials

    def test_it_has_no_more_points_than_points(self):
        told = refusal(study, sampler="grid", space=POINTS, trials=25)
        assert "the grid has 24 points; write at most that many trials" in told

    def test_it_needs_steps(self):
        told = refusal(study, sampler="grid", space={"train.l1": FLOATS})
        assert "a grid needs a step in each range of floats, and no `when`" in told

    @pytest.mark.parametrize("listed", [False, True])
    def test_it_knows_no_conditions(self, listed):
        when = INTEGERS | {"when": {"train.optimizer": "sgd"}}
        space = {"train.optimizer": CHOICES, "train.model.hidden": [when] if listed else when}

        assert "and no `when`" in refusal(study, sampler="grid", space=space)

    def test_other_samplers_may_draw_more_often_than_there_are_points(self):
        assert study(sampler="random", space=POINTS, trials=1000)


class TestNumbers:
    @pytest.mark.parametrize(
        "changes",
        [
            {"trials": 0},
            {"trials": 2.0},
            {"trials": True},
            {"epochs": 0},
            {"max_train_images": 0},
            {"batch": 0},
            {"min_epochs": 0},
            {"reduction_factor": 1},
            {"folds": 1},
            {"folds": 2.5},
            {"tolerance": -0.1},
            {"tolerance": float("inf")},
            {"sampler": "bayes"},
            {"pruner": "hyperband"},
            {"pruner": None},
            {"timeout": 60},
        ],
    )
    def test_what_is_not_allowed(self, changes):
        assert next(iter(changes)) in refusal(study, **changes)

    @pytest.mark.parametrize(
        "changes", [{"folds": None}, {"folds": 2}, {"reduction_factor": 2}, {"tolerance": 0}]
    )
    def test_what_is_just_allowed(self, changes):
        ((name, value),) = changes.items()
        assert getattr(study(**changes), name) == value


class TestWhereItRuns:
    def test_without_a_word_it_is_every_core_of_this_machine(self):
        assert (search().executor, search().workers, search().scheduler) == ("local", "auto", None)

    def test_dask_needs_a_scheduler(self):
        told = refusal(search, executor="dask")
        assert "executor dask needs a scheduler, such as tcp://host:8786" in told

    @pytest.mark.parametrize(
        "scheduler",
        ["tcp://host:8786", "tls://host:8786", "ucx://host:1", "ws://host:1", "wss://host/path"],
    )
    @pytest.mark.parametrize("executor", ["dask", "local"])
    def test_the_address_of_a_scheduler(self, executor, scheduler):
        assert search(executor=executor, scheduler=scheduler).scheduler == scheduler

    @pytest.mark.parametrize("scheduler", ["host:8786", "http://host", "tcp://", "", 8786])
    def test_what_is_no_address(self, scheduler):
        assert "scheduler" in refusal(search, executor="dask", scheduler=scheduler)

    @pytest.mark.parametrize("workers", [0, -1, 1.5, "all", True])
    def test_what_is_no_number_of_workers(self, workers):
        assert "workers" in refusal(search, workers=workers)

    def test_it_is_said_once_for_all_studies(self):
        assert "workers" in refusal(study, workers=2)

    def test_the_rules_of_every_study_hold_too(self):
        assert "write pruner: none" in refusal(search, objectives=TWO_OBJECTIVES)
