import math
from collections import Counter
from itertools import product

import optuna
import pytest
from optuna.trial import FixedTrial, TrialState, create_trial
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from latentlab.data.image_set import DatasetInfo
from latentlab.params.load import load_params
from latentlab.params.ranges import Space, grid_point, grid_size
from latentlab.params.resolve import with_values
from latentlab.params.yaml_io import read_yaml, write_yaml
from latentlab.search.space import draw, walk_grid
from latentlab.stages.search import candidate

pytestmark = pytest.mark.usefixtures("quiet")

SPACE = TypeAdapter(Space)


def space_of(text):
    """A space as it is written in a file, read as `read_yaml` reads it."""
    return SPACE.validate_python(YAML(typ="rt").load(text) or {})


def random_trial(seed):
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


LAYERS = """
depth: {type: int, low: 1, high: 3}
train.model.channels:
  - {type: int, low: 4, high: 8}
  - {type: int, low: 8, high: 16, when: {depth: [2, 3]}}
  - {type: int, low: 16, high: 32, when: {depth: 3}}
train.model.kernel:
  - {type: categorical, choices: [3, 5]}
  - {type: categorical, choices: [3, 5], when: {depth: [2, 3]}}
  - {type: categorical, choices: [1], when: {depth: 3, "train.model.channels[2]": 20}}
"""
OPTIMIZER = """
train.optimizer: {type: categorical, choices: [adam, sgd, muon]}
train.momentum:
  {type: float, low: 0.5, high: 0.99, when: {train.optimizer: [sgd, muon]}, otherwise: 0.9}
train.nesterov:
  {type: categorical, choices: [true, false], when: {train.optimizer: sgd}, otherwise: false}
train.patience: {type: int, low: 1, high: 9, when: {train.nesterov: true}, otherwise: null}
"""


class TestListsForEachLayer:
    def test_all_of_them(self):
        trial = FixedTrial(
            {
                "depth": 3,
                "train.model.channels[0]": 4,
                "train.model.channels[1]": 9,
                "train.model.channels[2]": 20,
                "train.model.kernel[0]": "5",
                "train.model.kernel[1]": "3",
                "train.model.kernel[2]": "1",
            }
        )

        assert draw(trial, space_of(LAYERS)) == {
            "train.model.channels": [4, 9, 20],
            "train.model.kernel": [5, 3, 1],
        }

    def test_a_range_that_does_not_apply_is_left_out_and_not_asked_for(self):
        trial = FixedTrial(
            {
                "depth": 2,
                "train.model.channels[0]": 4,
                "train.model.channels[1]": 9,
                "train.model.kernel[0]": "5",
                "train.model.kernel[1]": "3",
            }
        )

        assert draw(trial, space_of(LAYERS)) == {
            "train.model.channels": [4, 9],
            "train.model.kernel": [5, 3],
        }
        assert len(trial.params) == 5

    def test_all_conditions_of_a_range_must_hold(self):
        drawn = {"depth": 3, "train.model.channels[0]": 4, "train.model.channels[1]": 9}
        drawn |= {"train.model.channels[2]": 21}
        drawn |= {"train.model.kernel[0]": "5", "train.model.kernel[1]": "3"}

        assert draw(FixedTrial(drawn), space_of(LAYERS))["train.model.kernel"] == [5, 3]

    def test_a_list_may_be_empty(self):
        space = space_of("""
            layers: {type: int, low: 0, high: 1}
            finetune.head: [{type: int, low: 8, high: 9, when: {layers: 1}}]
        """)

        assert draw(FixedTrial({"layers": 0}), space) == {"finetune.head": []}
        assert draw(FixedTrial({"layers": 1, "finetune.head[0]": 8}), space) == {
            "finetune.head": [8]
        }

    def test_a_range_in_the_middle_may_be_left_out(self):
        space = space_of("""
            middle: {type: categorical, choices: [true, false]}
            finetune.head:
              - {type: int, low: 8, high: 9}
              - {type: int, low: 4, high: 5, when: {middle: true}}
              - {type: int, low: 2, high: 3}
        """)
        trial = FixedTrial({"middle": "false", "finetune.head[0]": 8, "finetune.head[2]": 2})

        assert draw(trial, space) == {"finetune.head": [8, 2]}


class TestConditions:
    def test_where_one_holds_the_range_is_drawn_from(self):
        drawn = {"train.momentum": 0.6, "train.nesterov": "true", "train.patience": 4}
        trial = FixedTrial({"train.optimizer": '"sgd"'} | drawn)

        assert draw(trial, space_of(OPTIMIZER)) == {
            "train.optimizer": "sgd",
            "train.momentum": 0.6,
            "train.nesterov": True,
            "train.patience": 4,
        }

    def test_where_none_holds_it_is_what_the_range_says_otherwise(self):
        trial = FixedTrial({"train.optimizer": '"adam"'})

        assert draw(trial, space_of(OPTIMIZER)) == {
            "train.optimizer": "adam",
            "train.momentum": 0.9,
            "train.nesterov": False,
            "train.patience": None,
        }
        assert trial.params == {"train.optimizer": '"adam"'}

    def test_what_is_drawn_may_be_false_or_null(self):
        space = space_of("""
            train.optimizer: {type: categorical, choices: [sgd]}
            train.nesterov:
              {type: categorical, choices: [false], when: {train.optimizer: sgd}, otherwise: true}
            train.clip_norm:
              {type: categorical, choices: [null], when: {train.optimizer: sgd}, otherwise: 1.0}
        """)

        values = draw(random_trial(0), space)

        assert values["train.nesterov"] is False
        assert values["train.clip_norm"] is None

    def test_a_switch_is_no_parameter(self):
        space = space_of("""
            wide: {type: categorical, choices: [true, false]}
            deep: {type: categorical, choices: [yes, no], when: {wide: true}}
            train.batch_size: {type: int, low: 8, high: 9, when: {deep: yes}, otherwise: 7}
        """)

        drawn = {"wide": "true", "deep": '"yes"', "train.batch_size": 8}
        assert draw(FixedTrial(drawn), space) == {"train.batch_size": 8}
        assert draw(FixedTrial({"wide": "false"}), space) == {"train.batch_size": 7}

    def test_an_empty_space_gives_nothing(self):
        assert draw(FixedTrial({}), {}) == {}


class TestWhatIsDrawn:
    def test_one_of_the_choices_as_it_was_written(self):
        space = space_of("""
            train.model.channels: {type: categorical, choices: [[8, 16, 32], [16, 32]]}
            train.model.padding: {type: categorical, choices: [auto, 1, [1, 0]]}
            train.clip_norm: {type: categorical, choices: [null, 1.0e-06, 2]}
            train.nesterov: {type: categorical, choices: [true, false]}
        """)
        written = {name: entry.choices for name, entry in space.items()}
        seen = {name: [] for name in space}

        for seed in range(60):
            for name, value in draw(random_trial(seed), space).items():
                assert any(value == c and type(value) is type(plain(c)) for c in written[name])
                if value not in seen[name]:
                    seen[name].append(value)

        assert {name: len(values) for name, values in seen.items()} == {
            "train.model.channels": 2,
            "train.model.padding": 3,
            "train.clip_norm": 3,
            "train.nesterov": 2,
        }

    def test_numbers_within_their_ends_a_step_apart(self):
        space = space_of("""
            train.batch_size: {type: int, low: 8, high: 24, step: 8}
            train.model.hidden: {type: int, low: 3, high: 200, log: true}
            train.model.dropout: {type: float, low: 0.0, high: 0.5, step: 0.1}
            train.learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
            train.momentum: {type: float, low: 0.5, high: 0.9}
        """)

        draws = [draw(random_trial(seed), space) for seed in range(100)]

        assert {each["train.batch_size"] for each in draws} == {8, 16, 24}
        assert all(type(each["train.model.hidden"]) is int for each in draws)
        assert all(3 <= each["train.model.hidden"] <= 200 for each in draws)
        tenths = {round(each["train.model.dropout"] * 10, 9) for each in draws}
        assert tenths == {0, 1, 2, 3, 4, 5}
        assert all(0.001 <= each["train.learning_rate"] <= 0.1 for each in draws)
        below = sum(each["train.learning_rate"] < 0.01 for each in draws)
        assert 30 < below < 70  # as many in the lower of two decades as in the upper
        assert all(0.5 <= each["train.momentum"] <= 0.9 for each in draws)

    @pytest.mark.parametrize(
        ("entry", "drawn"),
        [
            ("{type: int, low: 1, high: 12, step: 5}", {1, 6, 11}),
            ("{type: int, low: 4, high: 6, step: 3}", {4}),
            ("{type: float, low: 0.0, high: 1.0, step: 0.4}", {0.0, 0.4, 0.8}),
        ],
    )
    def test_a_step_need_not_lead_to_the_end(self, entry, drawn):
        """Warnings are errors here: none is given either."""
        space = space_of(f"train.l1: {entry}")
        assert {draw(random_trial(seed), space)["train.l1"] for seed in range(30)} == drawn

    def test_lists_are_as_long_as_the_switch_says(self):
        space = space_of(LAYERS)
        seen = Counter()

        for seed in range(100):
            trial = random_trial(seed)
            values = draw(trial, space)
            depth = trial.params["depth"]
            seen[depth] += 1
            assert len(values["train.model.channels"]) == depth
            assert len(values["train.model.kernel"]) >= min(depth, 2)

        assert set(seen) == {1, 2, 3}

    @pytest.mark.parametrize("text", [LAYERS, OPTIMIZER])
    def test_the_same_seed_draws_the_same(self, text):
        space = space_of(text)
        assert draw(random_trial(5), space) == draw(random_trial(5), space)
        assert len({str(draw(random_trial(seed), space)) for seed in range(9)}) > 3

    @pytest.mark.parametrize("text", [LAYERS, OPTIMIZER])
    def test_a_study_that_learns_draws_from_it_too(self, text):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
        space = space_of(text)

        for number in range(12):
            trial = study.ask()
            assert draw(trial, space)
            study.tell(trial, number % 5)

    def test_it_can_be_written_to_a_file_and_read_again(self, tmp_path):
        space = space_of("""
            train.optimizer: {type: categorical, choices: [adam]}
            train.momentum:
              {type: float, low: 0.1, high: 0.9, when: {train.optimizer: sgd}, otherwise: 0.5}
            train.l1:
              {type: float, low: 0.1, high: 0.9, when: {train.optimizer: sgd}, otherwise: 1.0e-06}
            train.model.hidden:
              {type: int, low: 1, high: 9, when: {train.optimizer: sgd}, otherwise: [64, 32]}
            train.model.channels: {type: categorical, choices: [[8, 16]]}
            train.clip_norm: {type: categorical, choices: [1.0e-03]}
            train.model.kernel: [{type: int, low: 3, high: 3}]
        """)
        values = draw(random_trial(0), space)

        write_yaml(tmp_path / "best_params.yaml", values)

        assert read_yaml(tmp_path / "best_params.yaml") == values


def plain(value):
    """A value as JSON would give it back."""
    if isinstance(value, list):
        return list(value)
    return float(value) if isinstance(value, float) else value


GRID = """
train.optimizer: {type: categorical, choices: [adam, sgd]}
train.model.channels: {type: categorical, choices: [[8, 16], [4], [8]]}
train.model.kernel: [{type: int, low: 1, high: 5, step: 2}, {type: int, low: 2, high: 3}]
train.momentum: {type: float, low: 0.0, high: 0.75, step: 0.25}
"""


class TestGrids:
    @pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
    def test_every_point_is_visited_once(self, seed):
        space = space_of(GRID)
        size = grid_size(space)

        points = [tuple(walk_grid(space, number, seed).items()) for number in range(size)]

        assert size == 2 * 3 * 3 * 2 * 4
        assert len(set(points)) == size

    def test_every_point_is_drawn_as_it_is_in_the_grid(self):
        space = space_of(GRID)
        study = optuna.create_study()
        drawn = []

        for number in range(grid_size(space)):
            study.enqueue_trial(walk_grid(space, number, 3))
            drawn.append(draw(study.ask(), space))

        expected = [
            {
                "train.optimizer": optimizer,
                "train.model.channels": channels,
                "train.model.kernel": [first, second],
                "train.momentum": momentum,
            }
            for optimizer, channels, first, second, momentum in product(
                ["adam", "sgd"], [[8, 16], [4], [8]], [1, 3, 5], [2, 3], [0.0, 0.25, 0.5, 0.75]
            )
        ]
        assert sorted(map(str, drawn)) == sorted(map(str, expected))

    def test_the_order_is_random_but_the_same_for_the_same_seed(self):
        space = space_of(GRID)

        def order(seed):
            return [str(walk_grid(space, number, seed)) for number in range(20)]

        assert order(0) == order(0)
        assert order(0) != order(1)
        assert order(0) != [str(grid_point(space, index)) for index in range(20)]

    @pytest.mark.parametrize(
        "entry",
        [
            "{type: int, low: 1, high: 9, step: 2}",
            "{type: int, low: 1, high: 8, log: true}",
            "{type: float, low: 0.0, high: 1.0, step: 0.25}",
            "{type: float, low: 0.0, high: 0.3, step: 0.1}",
            "{type: float, low: 0.1, high: 0.7, step: 0.1}",
            "{type: float, low: 0.0, high: 0.9, step: 0.3}",
            "{type: float, low: 1.0e-06, high: 9.0e-06, step: 1.0e-06}",
            "{type: categorical, choices: [1, 1.0, true, '1', null, [], [1, 2]]}",
        ],
    )
    def test_the_record_of_a_study_takes_every_point(self, entry):
        space = space_of(f"train.l1: {entry}")
        study = optuna.create_study()

        for number in range(grid_size(space)):
            study.enqueue_trial(walk_grid(space, number, 0))
            trial = study.ask()
            draw(trial, space)
            assert create_trial(
                state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
            )

    def test_the_grid_of_an_empty_space_is_nothing_to_draw(self):
        assert walk_grid({}, 0, 0) == {}


INFO = DatasetInfo("shapes", ["a", "b"], [1, 28, 28], {}, [0.5], [0.3], {}, "")


@pytest.fixture(scope="module")
def params(repository):
    """The shipped parameters without the word `search`."""
    values = {
        "search.epochs": 7,
        "train.model.channels": [8, 16],
        "train.model.hidden": 16,
        "train.model.latent_dim": 2,
        "train.optimizer": "adam",
        "train.learning_rate": 0.01,
        "train.weight_decay": 0.0,
        "train.patience": 4,
    }
    return with_values(load_params(repository / "params.yaml"), values)


class TestWhatADrawMakes:
    def test_a_training_with_the_values_and_the_budget_of_a_trial(self, params):
        made = candidate(params, INFO, {"train.model.channels": [4], "train.l1": 0.5})

        assert made.settings.model.channels == (4,)
        assert made.settings.l1 == 0.5
        assert made.settings.epochs == 7
        assert made.settings.patience is None
        assert made.settings.learning_rate == 0.01

    def test_patience_where_it_is_searched(self, params):
        assert candidate(params, INFO, {"train.patience": 3}).settings.patience == 3

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"train.model.channels": [4] * 6}, "the image vanishes at convolution 5 of 6"),
            ({"train.model.kernel": [3, 3, 3]}, "kernel has 3 values for 2 convolutions"),
        ],
    )
    def test_a_network_that_cannot_be_built_has_a_reason(self, params, values, told):
        with pytest.raises(ValueError, match=told):
            candidate(params, INFO, values)

    def test_the_reason_is_told_as_in_the_file(self, params):
        with pytest.raises(ValueError, match="batch_size of at least 2") as caught:
            candidate(params, INFO, {"train.model.batch_norm": True, "train.batch_size": 1})
        assert str(caught.value) == "train.model.batch_norm needs a batch_size of at least 2"

    @pytest.mark.parametrize(
        ("name", "value"), [("train.model.channels", []), ("train.momentum", math.nan)]
    )
    def test_the_reason_names_the_parameter(self, params, name, value):
        with pytest.raises(ValueError, match=name.rpartition(".")[-1]):
            candidate(params, INFO, {name: value})
