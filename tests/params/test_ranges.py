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
    @pytest.fixture
    def deep(self):
        return range_of(integers(1, 2, when={"depth": [3, 4], "train.optimizer": "sgd"}))

    def test_without_any_a_range_always_applies(self):
        assert range_of(integers(1, 2)).applies({})
        assert range_of(integers(1, 2)).applies({"depth": 3})

    @pytest.mark.parametrize("depth", [3, 4])
    def test_one_of_several_values_is_enough(self, deep, depth):
        assert deep.applies({"depth": depth, "train.optimizer": "sgd"})

    @pytest.mark.parametrize(
        "drawn",
        [
            {"depth": 2, "train.optimizer": "sgd"},
            {"depth": 3, "train.optimizer": "adam"},
            {"depth": 2, "train.optimizer": "adam"},
        ],
    )
    def test_all_names_must_have_what_is_asked_for(self, deep, drawn):
        assert not deep.applies(drawn)

    @pytest.mark.parametrize("drawn", [{}, {"depth": 3}, {"train.optimizer": "sgd"}])
    def test_what_was_not_drawn_fulfils_nothing(self, deep, drawn):
        assert not deep.applies(drawn)

    def test_nothing_drawn_is_not_the_value_null(self):
        assert not range_of(integers(1, 2, when={"train.patience": None})).applies({})
        assert range_of(integers(1, 2, when={"train.patience": None})).applies(
            {"train.patience": None}
        )

    def test_a_list_that_was_drawn_is_named_within_a_list(self):
        wide = range_of(integers(1, 2, when={"train.model.channels": [[8, 16], [4]]}))

        assert wide.applies({"train.model.channels": [8, 16]})
        assert not wide.applies({"train.model.channels": [16, 8]})

    def test_other_names_do_not_matter(self):
        entry = range_of(floats(0.0, 1.0, when={"depth": 3}))
        assert entry.applies({"depth": 3, "depths": 4, "train.l1": 0.1})


class TestNames:
    def test_ranges_of_a_list_are_numbered_from_zero(self):
        assert [label("train.model.kernel", i) for i in range(2)] == [
            "train.model.kernel[0]",
            "train.model.kernel[1]",
        ]

    def test_they_come_in_the_order_of_the_file(self):
        space = space_of(
            {
                "train.l1": floats(0.0, 1.0),
                "depth": integers(1, 2),
                "train.model.channels": [integers(4, 5), integers(6, 7)],
                "train.batch_size": integers(8, 9),
            }
        )

        named = list(named_ranges(space))

        assert [name for name, _ in named] == [
            "train.l1",
            "depth",
            "train.model.channels[0]",
            "train.model.channels[1]",
            "train.batch_size",
        ]
        assert [each.low for _, each in named] == [0.0, 1, 4, 6, 8]

    def test_a_list_of_one_range_is_a_list(self):
        space = space_of({"finetune.head": [integers(16, 128)]})
        assert [name for name, _ in named_ranges(space)] == ["finetune.head[0]"]

    def test_an_empty_space_has_none(self):
        assert list(named_ranges({})) == []

    @pytest.mark.parametrize(
        ("name", "switch"), [("depth", True), ("train.l1", False), ("train.l1[0]", False)]
    )
    def test_a_name_without_a_dot_is_a_switch(self, name, switch):
        assert is_switch(name) is switch


class TestExamples:
    def test_of_integers_both_ends(self):
        assert examples(range_of(integers(-3, 5))) == [-3, 5]

    def test_of_real_numbers_also_one_that_is_no_integer(self):
        low, between, high = examples(range_of(floats(2.0, 5.0)))

        assert (low, high) == (2.0, 5.0)
        assert low < between < high
        assert not between.is_integer()

    def test_of_choices_all(self):
        assert examples(range_of(choices("adam", [1, 2], None))) == ["adam", [1, 2], None]

    def test_also_what_it_is_otherwise(self):
        entry = range_of(integers(1, 5, when={"depth": 3}, otherwise=7))
        assert examples(entry) == [1, 5, 7]

    def test_otherwise_may_be_zero_or_false(self):
        assert examples(range_of(integers(1, 5, when={"depth": 3}, otherwise=0)))[-1] == 0
        assert examples(range_of(choices(True, when={"depth": 3}, otherwise=False)))[-1] is False

    def test_of_a_list_are_lists_of_one_since_conditions_decide_its_length(self):
        entry = range_of([integers(1, 2), choices(4, 5, 6)])

        assert examples(entry) == [[1], [2], [4], [5], [6]]

    @pytest.mark.parametrize(
        ("entry", "last"),
        [
            (integers(1, 12, step=5), 11),
            (integers(4, 6, step=3), 4),
            (floats(0.0, 1.0, step=0.3), 0.9),
        ],
    )
    def test_of_a_range_with_steps_the_last_is_the_last_that_can_be_drawn(self, entry, last):
        assert max(examples(range_of(entry))) == pytest.approx(last)


class TestGrids:
    @pytest.mark.parametrize(
        ("entry", "points"),
        [
            (integers(3, 6), [3, 4, 5, 6]),
            (integers(1, 10, step=3), [1, 4, 7, 10]),
            (integers(1, 12, step=5), [1, 6, 11]),
            (integers(4, 6, step=3), [4]),
            (integers(-2, 2, step=2), [-2, 0, 2]),
            (integers(7, 7), [7]),
            (integers(2, 5, log=True), [2, 3, 4, 5]),
            (choices("adam", [8, 16], None), ["adam", [8, 16], None]),
        ],
    )
    def test_every_value_of_integers_and_choices(self, entry, points):
        assert points_of(range_of(entry)) == points

    @pytest.mark.parametrize(
        ("entry", "points"),
        [
            (floats(0.0, 1.0, step=0.25), [0.0, 0.25, 0.5, 0.75, 1.0]),
            (floats(0.0, 1.0, step=0.3), [0.0, 0.3, 0.6, 0.9]),
            (floats(0.0, 0.35, step=0.1), [0.0, 0.1, 0.2, 0.3]),
            (floats(0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
            (floats(0.1, 0.7, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
            (floats(0.5, 0.6, step=0.2), [0.5]),
            (floats(0.5, 0.5, step=0.1), [0.5]),
            (floats(-0.2, 0.1, step=0.1), [-0.2, -0.1, 0.0, 0.1]),
            (floats(1e-06, 5e-06, step=1e-06), [1e-06, 2e-06, 3e-06, 4e-06, 5e-06]),
        ],
    )
    def test_every_step_of_real_numbers(self, entry, points):
        assert points_of(range_of(entry)) == points

    @pytest.mark.parametrize(
        ("low", "high", "step"), [(0.1, 0.75, 0.1), (0.0, 0.35, 0.1), (0.001, 0.0095, 0.001)]
    )
    def test_optuna_takes_every_point_also_where_the_step_does_not_divide(self, low, high, step):
        entry = range_of(floats(low, high, step=step))
        distribution = FloatDistribution(entry.low, entry.last, step=step)

        assert all(distribution._contains(point) for point in points_of(entry))
        assert distribution.high == entry.last

    def test_what_was_rounded_is_brought_back(self):
        entry = range_of(floats(0.1, 0.5, step=0.1))

        assert entry.nearest(0.1 + 0.2) == 0.3
        assert entry.has(0.3)
        assert not entry.has(0.35)

    def test_as_many_steps_as_a_person_counts(self):
        random_steps = random.Random(0)
        for _ in range(300):
            digits, count = random_steps.randint(0, 5), random_steps.randint(0, 40)
            low, step = random_steps.randint(-50, 50), random_steps.randint(1, 50)
            scale = 10**digits
            high = low + count * step
            entry = range_of(floats(low / scale, high / scale, step=step / scale))
            assert entry.points == count + 1, entry

    @pytest.mark.parametrize(
        ("low", "high", "step"),
        [(0.0, 0.3, 0.1), (0.1, 0.7, 0.1), (0.0, 1.1, 0.1), (0.2, 1.4, 0.2)],
    )
    def test_no_point_is_beyond_the_ends(self, low, high, step):
        grid = points_of(range_of(floats(low, high, step=step)))

        assert low <= min(grid)
        assert max(grid) <= high

    def test_real_numbers_without_a_step_have_none(self):
        assert range_of(floats(0.0, 1.0)).points == 0
        assert range_of(floats(0.1, 1.0, log=True)).points == 0

    def test_the_size_is_the_product_over_all_ranges(self):
        space = space_of(
            {
                "train.optimizer": choices("adam", "sgd"),
                "train.model.channels": [integers(4, 6), integers(1, 10, step=3)],
                "train.l1": floats(0.0, 0.3, step=0.1),
            }
        )

        assert grid_size(space) == 2 * 3 * 4 * 4
        assert len(grid_of(space)) == 2 * 3 * 4 * 4

    def test_there_is_no_size_where_one_range_has_no_steps(self):
        space = {"train.optimizer": choices("adam", "sgd"), "train.l1": floats(0.0, 0.3)}
        assert grid_size(space_of(space)) == 0

    def test_the_grid_of_an_empty_space_is_one_empty_point(self):
        assert grid_size({}) == 1
        assert grid_of({}) == [{}]

    def test_points_are_every_combination_once_by_the_names_of_the_ranges(self):
        space = space_of(
            {"finetune.head": [integers(1, 2), integers(3, 4)], "finetune.optimizer": choices("a")}
        )

        assert grid_of(space) == [
            {"finetune.head[0]": first, "finetune.head[1]": second, "finetune.optimizer": "a"}
            for first in (1, 2)
            for second in (3, 4)
        ]


class TestWhatIsNoRange:
    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            (integers(5, 4), "low must not exceed high"),
            (integers(0, 4, log=True), "must be at least 1 with log"),
            (integers(1, 4, step=2, log=True), "a step and log exclude each other"),
            (integers(1, 4, step=0), "greater than 0"),
            (integers(1, 4, step=-1), "greater than 0"),
            (integers(1, 4, step=0.5), "integer"),
            (integers(1.0, 4), "integer"),
            (integers(True, 4), "integer"),
            (integers("1", 4), "integer"),
            (floats(0.5, 0.4), "low must not exceed high"),
            (floats(0.0, 0.4, log=True), "must be above 0 with log"),
            (floats(-1.0, 0.4, log=True), "must be above 0 with log"),
            (floats(0.1, 0.4, step=0.1, log=True), "a step and log exclude each other"),
            (floats(0.1, 0.4, step=0.0), "greater than 0"),
            (floats(0.1, math.inf), "finite"),
            (floats(math.nan, 0.4), "finite"),
            (floats("0.1", 0.4), "number"),
            (choices(), "at least 1 item"),
            (integers(1, 4, log=1), "boolean"),
            (integers(1, 4, steps=2), "Extra inputs"),
            (choices("a", step=2), "Extra inputs"),
            (integers(1, 4, when=3), "dictionary"),
            ({"type": "integer", "low": 1, "high": 4}, "'integer'"),
            ({"low": 1, "high": 4}, "tag"),
            ([], "at least 1 item"),
            ([integers(1, 4), integers(5, 4)], "low must not exceed high"),
        ],
    )
    def test_it_is_refused(self, entry, told):
        with pytest.raises(ValidationError, match=told):
            range_of(entry)

    @pytest.mark.parametrize(
        "entry",
        [
            integers(4, 4),
            integers(1, 4, log=True),
            integers(1, 4, step=1, log=True),
            integers(-9, 0),
            floats(0, 1),
            floats(0.5, 0.5),
            floats(-1.0, 1.0, step=0.5),
            choices(None),
            choices([], [1]),
        ],
    )
    def test_these_are_ranges(self, entry):
        assert range_of(entry)
