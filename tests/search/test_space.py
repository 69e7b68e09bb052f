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
from latentlab.search.space import grid_params, suggest_values
from latentlab.stages.search import candidate

pytestmark = pytest.mark.usefixtures("quiet")

SPACE = TypeAdapter(Space)


def space_of(text):
    """A search space from YAML, loaded as `read_yaml` does."""
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


class TestListsOfRanges:
    def test_every_element_is_sampled(self):
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

        assert suggest_values(trial, space_of(LAYERS)) == {
            "train.model.channels": [4, 9, 20],
            "train.model.kernel": [5, 3, 1],
        }

    def test_an_element_that_does_not_apply_is_omitted_and_not_sampled(self):
        trial = FixedTrial(
            {
                "depth": 2,
                "train.model.channels[0]": 4,
                "train.model.channels[1]": 9,
                "train.model.kernel[0]": "5",
                "train.model.kernel[1]": "3",
            }
        )

        assert suggest_values(trial, space_of(LAYERS)) == {
            "train.model.channels": [4, 9],
            "train.model.kernel": [5, 3],
        }
        assert len(trial.params) == 5

    def test_all_conditions_of_a_range_must_be_true(self):
        params = {"depth": 3, "train.model.channels[0]": 4, "train.model.channels[1]": 9}
        params |= {"train.model.channels[2]": 21}
        params |= {"train.model.kernel[0]": "5", "train.model.kernel[1]": "3"}

        assert suggest_values(FixedTrial(params), space_of(LAYERS))["train.model.kernel"] == [5, 3]

    def test_a_list_can_be_empty(self):
        space = space_of("""
            layers: {type: int, low: 0, high: 1}
            finetune.head: [{type: int, low: 8, high: 9, when: {layers: 1}}]
        """)

        assert suggest_values(FixedTrial({"layers": 0}), space) == {"finetune.head": []}
        assert suggest_values(FixedTrial({"layers": 1, "finetune.head[0]": 8}), space) == {
            "finetune.head": [8]
        }

    def test_an_element_in_the_middle_can_be_omitted(self):
        space = space_of("""
            middle: {type: categorical, choices: [true, false]}
            finetune.head:
              - {type: int, low: 8, high: 9}
              - {type: int, low: 4, high: 5, when: {middle: true}}
              - {type: int, low: 2, high: 3}
        """)
        trial = FixedTrial({"middle": "false", "finetune.head[0]": 8, "finetune.head[2]": 2})

        assert suggest_values(trial, space) == {"finetune.head": [8, 2]}


class TestConditions:
    def test_a_range_is_sampled_if_its_condition_is_true(self):
        params = {"train.momentum": 0.6, "train.nesterov": "true", "train.patience": 4}
        trial = FixedTrial({"train.optimizer": '"sgd"'} | params)

        assert suggest_values(trial, space_of(OPTIMIZER)) == {
            "train.optimizer": "sgd",
            "train.momentum": 0.6,
            "train.nesterov": True,
            "train.patience": 4,
        }

    def test_a_parameter_gets_the_value_of_otherwise_if_its_condition_is_false(self):
        trial = FixedTrial({"train.optimizer": '"adam"'})

        assert suggest_values(trial, space_of(OPTIMIZER)) == {
            "train.optimizer": "adam",
            "train.momentum": 0.9,
            "train.nesterov": False,
            "train.patience": None,
        }
        assert trial.params == {"train.optimizer": '"adam"'}

    def test_sampled_values_can_be_false_or_null(self):
        space = space_of("""
            train.optimizer: {type: categorical, choices: [sgd]}
            train.nesterov:
              {type: categorical, choices: [false], when: {train.optimizer: sgd}, otherwise: true}
            train.clip_norm:
              {type: categorical, choices: [null], when: {train.optimizer: sgd}, otherwise: 1.0}
        """)

        values = suggest_values(random_trial(0), space)

        assert values["train.nesterov"] is False
        assert values["train.clip_norm"] is None

    def test_a_switch_is_not_a_parameter(self):
        space = space_of("""
            wide: {type: categorical, choices: [true, false]}
            deep: {type: categorical, choices: [yes, no], when: {wide: true}}
            train.batch_size: {type: int, low: 8, high: 9, when: {deep: yes}, otherwise: 7}
        """)

        params = {"wide": "true", "deep": '"yes"', "train.batch_size": 8}
        assert suggest_values(FixedTrial(params), space) == {"train.batch_size": 8}
        assert suggest_values(FixedTrial({"wide": "false"}), space) == {"train.batch_size": 7}

    def test_an_empty_space_has_no_values(self):
        assert suggest_values(FixedTrial({}), {}) == {}


class TestSampledValues:
    def test_choices_have_the_type_that_was_written(self):
        space = space_of("""
            train.model.channels: {type: categorical, choices: [[8, 16, 32], [16, 32]]}
            train.model.padding: {type: categorical, choices: [auto, 1, [1, 0]]}
            train.clip_norm: {type: categorical, choices: [null, 1.0e-06, 2]}
            train.nesterov: {type: categorical, choices: [true, false]}
        """)
        written = {name: entry.choices for name, entry in space.items()}
        sampled = {name: [] for name in space}

        for seed in range(60):
            for name, value in suggest_values(random_trial(seed), space).items():
                assert any(value == c and type(value) is type(plain(c)) for c in written[name])
                if value not in sampled[name]:
                    sampled[name].append(value)

        assert {name: len(values) for name, values in sampled.items()} == {
            "train.model.channels": 2,
            "train.model.padding": 3,
            "train.clip_norm": 3,
            "train.nesterov": 2,
        }

    def test_numbers_are_within_their_limits_and_on_their_steps(self):
        space = space_of("""
            train.batch_size: {type: int, low: 8, high: 24, step: 8}
            train.model.hidden: {type: int, low: 3, high: 200, log: true}
            train.model.dropout: {type: float, low: 0.0, high: 0.5, step: 0.1}
            train.learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
            train.momentum: {type: float, low: 0.5, high: 0.9}
        """)

        samples = [suggest_values(random_trial(seed), space) for seed in range(100)]

        assert {each["train.batch_size"] for each in samples} == {8, 16, 24}
        assert all(type(each["train.model.hidden"]) is int for each in samples)
        assert all(3 <= each["train.model.hidden"] <= 200 for each in samples)
        tenths = {round(each["train.model.dropout"] * 10, 9) for each in samples}
        assert tenths == {0, 1, 2, 3, 4, 5}
        assert all(0.001 <= each["train.learning_rate"] <= 0.1 for each in samples)
        below = sum(each["train.learning_rate"] < 0.01 for each in samples)
        assert 30 < below < 70  # as many in the lower of two decades as in the upper
        assert all(0.5 <= each["train.momentum"] <= 0.9 for each in samples)

    def test_a_step_that_does_not_divide_the_range_ends_below_its_limit(self):
        """Without a warning of Optuna, which would be an error here."""
        expected = {
            "{type: int, low: 1, high: 12, step: 5}": {1, 6, 11},
            "{type: int, low: 4, high: 6, step: 3}": {4},
            "{type: float, low: 0.0, high: 1.0, step: 0.4}": {0.0, 0.4, 0.8},
        }
        for entry, values in expected.items():
            space = space_of(f"train.l1: {entry}")
            samples = {suggest_values(random_trial(seed), space)["train.l1"] for seed in range(30)}
            assert samples == values, entry

    def test_lists_have_the_length_that_the_switch_determines(self):
        space = space_of(LAYERS)
        depths = Counter()

        for seed in range(100):
            trial = random_trial(seed)
            values = suggest_values(trial, space)
            depth = trial.params["depth"]
            depths[depth] += 1
            assert len(values["train.model.channels"]) == depth
            assert len(values["train.model.kernel"]) >= min(depth, 2)

        assert set(depths) == {1, 2, 3}

    def test_the_same_seed_gives_the_same_values(self):
        for space in (space_of(LAYERS), space_of(OPTIMIZER)):
            samples = [suggest_values(random_trial(seed), space) for seed in range(9)]

            assert suggest_values(random_trial(5), space) == samples[5]
            assert len(set(map(str, samples))) > 3

    def test_a_sampler_that_learns_can_sample_conditional_ranges(self):
        for space in (space_of(LAYERS), space_of(OPTIMIZER)):
            sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=3)
            study = optuna.create_study(sampler=sampler)
            for number in range(12):
                trial = study.ask()
                assert suggest_values(trial, space)
                study.tell(trial, number % 5)

    def test_values_survive_writing_to_a_file_and_reading(self, tmp_path):
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
        values = suggest_values(random_trial(0), space)

        write_yaml(tmp_path / "best_params.yaml", values)

        assert read_yaml(tmp_path / "best_params.yaml") == values


def plain(value):
    """The value after a round trip through JSON."""
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
    def test_every_point_is_visited_once(self):
        space = space_of(GRID)
        size = grid_size(space)
        assert size == 2 * 3 * 3 * 2 * 4

        for seed in (0, 1, 2**32 - 1):
            points = [tuple(grid_params(space, number, seed).items()) for number in range(size)]
            assert len(set(points)) == size

    def test_trials_have_the_values_of_the_grid(self):
        space = space_of(GRID)
        study = optuna.create_study()
        sampled = []

        for number in range(grid_size(space)):
            study.enqueue_trial(grid_params(space, number, 3))
            sampled.append(suggest_values(study.ask(), space))

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
        assert sorted(map(str, sampled)) == sorted(map(str, expected))

    def test_the_order_is_random_and_determined_by_the_seed(self):
        space = space_of(GRID)

        def order(seed):
            return [str(grid_params(space, number, seed)) for number in range(20)]

        assert order(0) == order(0)
        assert order(0) != order(1)
        assert order(0) != [str(grid_point(space, index)) for index in range(20)]

    def test_optuna_accepts_every_point(self):
        """Rounding errors must not put the last point outside of its range."""
        entries = [
            "{type: int, low: 1, high: 9, step: 2}",
            "{type: int, low: 1, high: 8, log: true}",
            "{type: float, low: 0.0, high: 1.0, step: 0.25}",
            "{type: float, low: 0.0, high: 0.3, step: 0.1}",
            "{type: float, low: 0.1, high: 0.7, step: 0.1}",
            "{type: float, low: 0.0, high: 0.9, step: 0.3}",
            "{type: float, low: 1.0e-06, high: 9.0e-06, step: 1.0e-06}",
            "{type: categorical, choices: [1, 1.0, true, '1', null, [], [1, 2]]}",
        ]
        study = optuna.create_study()
        for index, entry in enumerate(entries):
            space = {f"train.l{index}": space_of(f"train.l1: {entry}")["train.l1"]}
            for number in range(grid_size(space)):
                study.enqueue_trial(grid_params(space, number, 0))
                trial = study.ask()
                suggest_values(trial, space)
                assert create_trial(
                    state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
                )

    def test_the_grid_of_an_empty_space_has_one_point_without_parameters(self):
        assert grid_params({}, 0, 0) == {}


INFO = DatasetInfo("shapes", ["a", "b"], [1, 28, 28], {}, [0.5], [0.3], {}, "")


@pytest.fixture(scope="module")
def params(repository):
    """The shipped parameters with values in the place of `search`."""
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


class TestCandidates:
    def test_have_the_values_of_the_trial_and_the_epochs_of_the_search(self, params):
        made = candidate(params, INFO, {"train.model.channels": [4], "train.l1": 0.5})

        assert made.settings.model.channels == (4,)
        assert made.settings.l1 == 0.5
        assert made.settings.epochs == 7
        assert made.settings.learning_rate == 0.01

    def test_have_no_patience_unless_it_is_searched(self, params):
        assert candidate(params, INFO, {}).settings.patience is None
        assert candidate(params, INFO, {"train.patience": 3}).settings.patience == 3

    def test_that_are_invalid_raise_an_error_that_names_the_parameter(self, params, message):
        invalid = {
            "too many convolutions": {"train.model.channels": [4] * 6},
            "kernel of another length": {"train.model.kernel": [3, 3, 3]},
            "batch of one": {"train.model.batch_norm": True, "train.batch_size": 1},
            "no channels": {"train.model.channels": []},
            "not a number": {"train.momentum": math.nan},
        }
        for name, values in invalid.items():
            with pytest.raises(ValueError, match=r".") as error:
                candidate(params, INFO, values)
            message(f"search/candidate: {name}", error.value)
