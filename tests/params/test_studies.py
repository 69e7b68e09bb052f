"""Settings of studies: rungs, objectives, and what samplers and pruners support."""

from itertools import pairwise, product

import pytest
from pydantic import ValidationError

from latentlab.params.messages import first_error
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
CONDITIONAL = FLOATS | {"when": {"train.batch_size": 1}}
TWO_OBJECTIVES = {"validation/mse": "minimize", "parameters": "minimize"}


def study(**changes):
    return StudyParams(**SETTINGS | changes)


def search(**changes):
    return SearchParams(**SETTINGS | changes)


def error(make=study, **changes):
    with pytest.raises(ValidationError) as caught:
        make(**changes)
    return first_error(caught.value)


class TestRungs:
    def test_rungs_grow_by_the_reduction_factor_and_end_with_all_epochs(self):
        cases = [
            ((9, 1, 3), [1, 3, 9]),
            ((10, 1, 3), [1, 3, 9, 10]),
            ((45, 5, 3), [5, 15, 45]),
            ((8, 1, 2), [1, 2, 4, 8]),
            ((7, 2, 4), [2, 7]),
            ((1, 1, 3), [1]),
            ((9, 9, 3), [9]),
            ((4, 9, 3), [4]),
        ]
        for (epochs, first, factor), rungs in cases:
            settings = {"epochs": epochs, "min_epochs": first, "reduction_factor": factor}
            for pruner in ("halving", "median"):
                assert study(**settings, pruner=pruner).rungs == rungs

    def test_without_a_pruner_there_is_one_rung(self):
        assert study(epochs=9, pruner="none").rungs == [9]

    def test_rungs_are_increasing(self):
        for epochs, first, factor in product(range(1, 30), range(1, 12), (2, 3, 5)):
            rungs = study(epochs=epochs, min_epochs=first, reduction_factor=factor).rungs

            assert rungs[-1] == epochs
            assert all(one < other for one, other in pairwise(rungs))


class TestObjectives:
    def test_the_default_is_the_validation_loss(self):
        assert study().objectives == {"validation/loss": "minimize"}

    def test_several_objectives_keep_their_order_and_are_not_pruned(self, message):
        objectives = {
            "parameters": "minimize",
            "validation/accuracy": "maximize",
            "latency": "minimize",
        }

        for sampler in ("tpe", "random", "grid"):
            settings = study(objectives=objectives, pruner="none", sampler=sampler)
            assert list(settings.objectives) == list(objectives)
        for pruner in ({}, {"pruner": "halving"}, {"pruner": "median"}):
            message("params/study: pruner", error(objectives=TWO_OBJECTIVES, **pruner))

    def test_invalid_objectives(self):
        for objectives in (
            {},
            dict.fromkeys([*TWO_OBJECTIVES, "latency", "operations"], "minimize"),
            {"test/mse": "minimize"},
            {"validation/mse": "min"},
            ["validation/mse"],
        ):
            assert error(objectives=objectives, pruner="none").startswith("objectives")


class TestSamplers:
    def test_cma_es_needs_two_numeric_ranges_without_conditions(self, message):
        two = {"train.batch_size": INTEGERS, "train.l1": FLOATS}

        assert study(sampler="cma-es", space=two | {"train.optimizer": CHOICES})
        assert study(sampler="cma-es", space={"finetune.head": [INTEGERS, INTEGERS]})
        for space in (
            {},
            {"train.l1": FLOATS},
            {"train.l1": FLOATS, "train.optimizer": CHOICES},
            {"train.l1": FLOATS, "finetune.head": [CHOICES, CHOICES]},
            two | {"train.momentum": CONDITIONAL},
            two | {"train.momentum": [CONDITIONAL]},
        ):
            message("params/study: cma-es ranges", error(sampler="cma-es", space=space))

    def test_cma_es_supports_one_objective(self, message):
        space = {"train.batch_size": INTEGERS, "train.l1": FLOATS}
        settings = {"sampler": "cma-es", "objectives": TWO_OBJECTIVES, "pruner": "none"}

        message("params/study: cma-es objectives", error(space=space, **settings))

    def test_a_grid_has_at_most_as_many_trials_as_points(self, message):
        for trials in (1, 24):
            assert study(sampler="grid", space=POINTS, trials=trials).trials == trials
        message("params/study: grid points", error(sampler="grid", space=POINTS, trials=25))
        assert study(sampler="random", space=POINTS, trials=1000)

    def test_a_grid_needs_steps_and_no_conditions(self, message):
        conditional = INTEGERS | {"when": {"train.optimizer": "sgd"}}
        for space in (
            {"train.l1": FLOATS},
            {"train.optimizer": CHOICES, "train.model.hidden": conditional},
            {"train.optimizer": CHOICES, "train.model.hidden": [conditional]},
        ):
            message("params/study: grid ranges", error(sampler="grid", space=space))


def test_numbers_outside_their_range_are_rejected():
    for changes in (
        {"trials": 0},
        {"trials": 2.0},
        {"epochs": 0},
        {"max_train_images": 0},
        {"batch": 0},
        {"min_epochs": 0},
        {"reduction_factor": 1},
        {"folds": 1},
        {"tolerance": -0.1},
        {"tolerance": float("inf")},
        {"sampler": "bayes"},
        {"pruner": None},
        {"timeout": 60},
        {"workers": 2},
    ):
        assert error(**changes).startswith(next(iter(changes)))
    assert study(folds=2, reduction_factor=2, tolerance=0)


class TestExecution:
    def test_the_default_is_every_core_of_this_machine(self):
        assert search().execution_settings == {
            "executor": "local",
            "workers": "auto",
            "scheduler": None,
        }

    def test_the_settings_of_the_study_are_all_others(self):
        settings = search()

        assert settings.study_settings | settings.execution_settings == settings.tree()
        assert set(settings.study_settings) == set(StudyParams.model_fields)

    def test_dask_needs_the_address_of_a_scheduler(self, message):
        message("params/study: dask", error(search, executor="dask"))
        for address in ("tcp://host:8786", "tls://host:8786", "wss://host/path"):
            assert search(executor="dask", scheduler=address).scheduler == address
        for address in ("host:8786", "http://host", "tcp://", "", 8786):
            assert error(search, executor="dask", scheduler=address).startswith("scheduler")

    def test_the_number_of_workers_is_a_positive_integer_or_auto(self):
        for workers in (0, 1.5, "all", True):
            assert error(search, workers=workers).startswith("workers")
