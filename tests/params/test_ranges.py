"""Ranges of a search space: conditions, names, examples and grid points."""

import math
import random

import pytest
from optuna.distributions import FloatDistribution
from pydantic import TypeAdapter, ValidationError

from latentlab.params.ranges import (
    Space,
    examples,
    grid_point,
    grid_size,
    is_switch,
    label,
    named_ranges,
)

SPACE = TypeAdapter(Space)


def points_of(entry):
    return [entry.point(index) for index in range(entry.points)]


def grid_of(space):
    return [grid_point(space, index) for index in range(grid_size(space))]


def integers(low, high, **more):
    return {"type": "int", "low": low, "high": high, **more}


def floats(low, high, **more):
    return {"type": "float", "low": low, "high": high, **more}


def choices(*values, **more):
    return {"type": "categorical", "choices": list(values), **more}


def space_of(entries):
    return SPACE.validate_python(entries)


def range_of(entry):
    return space_of({"train.l1": entry})["train.l1"]


class TestConditions:
    def test_without_conditions_a_range_always_applies(self):
        assert range_of(integers(1, 2)).applies({})
        assert range_of(integers(1, 2)).applies({"depth": 3})

    def test_all_conditions_must_be_true_and_a_list_means_one_of_its_values(self):
        deep = range_of(integers(1, 2, when={"depth": [3, 4], "train.optimizer": "sgd"}))

        for depth in (3, 4):
            assert deep.applies({"depth": depth, "train.optimizer": "sgd", "other": 1})
        assert not deep.applies({"depth": 2, "train.optimizer": "sgd"})
        assert not deep.applies({"depth": 3, "train.optimizer": "adam"})

    def test_a_condition_on_a_value_that_was_not_sampled_is_false(self):
        deep = range_of(integers(1, 2, when={"depth": 3, "train.optimizer": "sgd"}))
        patient = range_of(integers(1, 2, when={"train.patience": None}))

        for sampled in ({}, {"depth": 3}, {"train.optimizer": "sgd"}):
            assert not deep.applies(sampled)
        assert not patient.applies({})
        assert patient.applies({"train.patience": None})

    def test_a_sampled_list_is_written_in_a_list(self):
        wide = range_of(integers(1, 2, when={"train.model.channels": [[8, 16], [4]]}))

        assert wide.applies({"train.model.channels": [8, 16]})
        assert not wide.applies({"train.model.channels": [16, 8]})


class TestNames:
    def test_ranges_are_named_in_the_order_of_the_file_and_numbered_in_lists(self):
        space = space_of(
            {
                "train.l1": floats(0.0, 1.0),
                "depth": integers(1, 2),
                "train.model.channels": [integers(4, 5), integers(6, 7)],
                "finetune.head": [integers(8, 9)],
            }
        )

        named = list(named_ranges(space))

        assert [name for name, _ in named] == [
            "train.l1",
            "depth",
            "train.model.channels[0]",
            label("train.model.channels", 1),
            "finetune.head[0]",
        ]
        assert [each.low for _, each in named] == [0.0, 1, 4, 6, 8]
        assert list(named_ranges({})) == []

    def test_a_name_without_a_dot_is_a_switch(self):
        assert is_switch("depth")
        assert not is_switch("train.l1")
        assert not is_switch("train.l1[0]")


class TestExamples:
    def test_examples_of_each_type_of_range(self):
        conditional = {"when": {"depth": 3}}
        cases = [
            (integers(-3, 5), [-3, 5]),
            (choices("adam", [1, 2], None), ["adam", [1, 2], None]),
            (integers(1, 5, **conditional, otherwise=7), [1, 5, 7]),
            (integers(1, 5, **conditional, otherwise=0), [1, 5, 0]),
            (choices(True, **conditional, otherwise=False), [True, False]),
            ([integers(1, 2), choices(4, 5, 6)], [[1], [2], [4], [5], [6]]),
        ]
        for entry, expected in cases:
            assert examples(range_of(entry)) == expected

    def test_one_example_of_floats_is_not_an_integer(self):
        low, between, high = examples(range_of(floats(2.0, 5.0)))

        assert (low, high) == (2.0, 5.0)
        assert low < between < high
        assert not between.is_integer()

    def test_the_last_example_can_be_reached_in_steps(self):
        cases = [
            (integers(1, 12, step=5), 11),
            (integers(4, 6, step=3), 4),
            (floats(0.0, 1.0, step=0.3), 0.9),
        ]
        for entry, last in cases:
            assert max(examples(range_of(entry))) == pytest.approx(last)


class TestGrids:
    def test_the_points_are_all_values_of_integers_and_choices(self):
        cases = [
            (integers(3, 6), [3, 4, 5, 6]),
            (integers(1, 12, step=5), [1, 6, 11]),
            (integers(4, 6, step=3), [4]),
            (integers(-2, 2, step=2), [-2, 0, 2]),
            (integers(2, 5, log=True), [2, 3, 4, 5]),
            (choices("adam", [8, 16], None), ["adam", [8, 16], None]),
        ]
        for entry, points in cases:
            assert points_of(range_of(entry)) == points
            assert all(range_of(entry).has(point) for point in points)

    def test_the_points_of_floats_are_exact_decimal_steps(self):
        cases = [
            (floats(0.0, 1.0, step=0.3), [0.0, 0.3, 0.6, 0.9]),
            (floats(0.0, 0.35, step=0.1), [0.0, 0.1, 0.2, 0.3]),
            (floats(0.1, 0.7, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
            (floats(0.5, 0.6, step=0.2), [0.5]),
            (floats(0.5, 0.5, step=0.1), [0.5]),
            (floats(-0.2, 0.1, step=0.1), [-0.2, -0.1, 0.0, 0.1]),
            (floats(1e-06, 5e-06, step=1e-06), [1e-06, 2e-06, 3e-06, 4e-06, 5e-06]),
        ]
        for entry, points in cases:
            assert points_of(range_of(entry)) == points

    def test_the_number_of_steps_is_exact(self):
        random_steps = random.Random(0)
        for _ in range(300):
            digits, count = random_steps.randint(0, 5), random_steps.randint(0, 40)
            low, step = random_steps.randint(-50, 50), random_steps.randint(1, 50)
            scale = 10**digits
            high = low + count * step
            entry = range_of(floats(low / scale, high / scale, step=step / scale))

            assert entry.points == count + 1, entry
            assert low / scale <= min(points_of(entry))
            assert max(points_of(entry)) <= high / scale

    def test_optuna_accepts_every_point(self):
        for low, high, step in ((0.1, 0.75, 0.1), (0.0, 0.35, 0.1), (0.001, 0.0095, 0.001)):
            entry = range_of(floats(low, high, step=step))
            distribution = FloatDistribution(entry.low, entry.last, step=step)

            assert all(distribution._contains(point) for point in points_of(entry))
            assert distribution.high == entry.last

    def test_a_rounded_value_is_mapped_to_its_point(self):
        entry = range_of(floats(0.1, 0.5, step=0.1))

        assert entry.nearest(0.1 + 0.2) == 0.3
        assert entry.has(0.3)
        for value in (0.35, 0.6, "0.3"):
            assert not entry.has(value)

    def test_floats_without_a_step_have_no_points(self):
        entry = range_of(floats(0.0, 1.0))

        assert entry.points == 0
        assert entry.nearest(0.123) == 0.123
        with pytest.raises(ValueError, match="without a step"):
            entry.point(0)
        assert grid_size(space_of({"a": choices(1, 2), "train.l1": floats(0.0, 0.3)})) == 0

    def test_the_size_is_the_product_over_all_ranges(self):
        space = space_of(
            {
                "train.optimizer": choices("adam", "sgd"),
                "train.model.channels": [integers(4, 6), integers(1, 10, step=3)],
                "train.l1": floats(0.0, 0.3, step=0.1),
            }
        )

        assert grid_size(space) == len(grid_of(space)) == 2 * 3 * 4 * 4
        assert grid_of({}) == [{}]

    def test_points_are_all_combinations_by_the_names_of_the_ranges(self):
        space = space_of(
            {"finetune.head": [integers(1, 2), integers(3, 4)], "finetune.optimizer": choices("a")}
        )

        assert grid_of(space) == [
            {"finetune.head[0]": first, "finetune.head[1]": second, "finetune.optimizer": "a"}
            for first in (1, 2)
            for second in (3, 4)
        ]


def test_invalid_ranges_are_rejected():
    for entry in (
        integers(5, 4),
        integers(0, 4, log=True),
        integers(1, 4, step=2, log=True),
        integers(1, 4, step=0),
        integers(1, 4, step=0.5),
        integers(1.0, 4),
        integers(True, 4),
        integers("1", 4),
        floats(0.5, 0.4),
        floats(0.0, 0.4, log=True),
        floats(0.1, 0.4, step=0.1, log=True),
        floats(0.1, 0.4, step=0.0),
        floats(0.1, math.inf),
        floats(math.nan, 0.4),
        floats("0.1", 0.4),
        choices(),
        integers(1, 4, log=1),
        integers(1, 4, steps=2),
        choices("a", step=2),
        integers(1, 4, when=3),
        {"type": "integer", "low": 1, "high": 4},
        {"low": 1, "high": 4},
        [],
        [integers(1, 4), integers(5, 4)],
    ):
        with pytest.raises(ValidationError):
            range_of(entry)


def test_ranges_at_the_limits_are_accepted():
    for entry in (
        integers(4, 4),
        integers(1, 4, log=True),
        integers(1, 4, step=1, log=True),
        integers(-9, 0),
        floats(0, 1),
        floats(0.5, 0.5),
        floats(-1.0, 1.0, step=0.5),
        choices(None),
        choices([], [1]),
    ):
        assert range_of(entry)
