"""Search spaces: ranges, switches, conditions and objectives of both studies are validated."""

import pytest
from ruamel.yaml import YAML

PLAIN = {
    "train.model.channels": [8, 16],
    "train.model.hidden": 64,
    "train.model.latent_dim": 8,
    "train.optimizer": "adam",
    "train.learning_rate": 0.004,
    "train.weight_decay": 0.0,
    "compare": {},
    "denoise": {},
}
"""Values in place of the word `search`; comparisons and denoisers are omitted for speed."""

CONDITIONAL = """
    X.optimizer: {type: categorical, choices: [adam, sgd]}
    X.batch_size: {type: int, low: 8, high: 16, step: 4}
    X.l1: {type: float, low: 0.0, high: 0.1}
    X.momentum: {type: float, low: 0.1, high: 0.9, when: {WHEN}, otherwise: 0.5}
    X.prune_epochs: [{type: int, low: 1, high: 2}]
"""


class Study:
    """Changes to params.yaml for a study over a section, which is written X in the space."""

    def __init__(self, section, errors, loaded):
        self.section = section
        self.path = "search" if section == "train" else "finetune.search"
        self._errors, self._loaded = errors, loaded

    def changes(self, space, settings):
        entries = YAML(typ="rt").load(space.replace("X.", f"{self.section}.") or "{}")
        study = {"trials": 3, "epochs": 2, "max_train_images": 100, "space": entries} | settings
        return PLAIN | {self.path: study}

    def errors(self, space, /, **settings):
        """Return the errors of a study, with the section written X."""
        found = self._errors(self.changes(space, settings))
        return found.replace(f"{self.path}.space.", "").replace(f"{self.section}.", "X.")

    def load(self, space, /, **settings):
        params = self._loaded(self.changes(space, settings))
        return params.search if self.section == "train" else params.finetune.search


@pytest.fixture
def train(errors, loaded):
    return Study("train", errors, loaded)


@pytest.fixture
def finetune(errors, loaded):
    return Study("finetune", errors, loaded)


class TestRanges:
    def test_invalid_ranges(self, train, message):
        cases = {
            "number": "5",
            "null": "",
            "no type": "{low: 1, high: 9}",
            "unknown type": "{type: integer, low: 1, high: 9}",
            "no end": "{type: int, high: 9}",
            "unknown key": "{type: int, low: 1, high: 9, lgo: 1}",
            "reversed": "{type: int, low: 9, high: 1}",
            "integers from 0 with log": "{type: int, low: 0, high: 9, log: true}",
            "floats from 0 with log": "{type: float, low: 0, high: 9, log: true}",
            "step and log": "{type: int, low: 1, high: 9, log: true, step: 2}",
            "step of 0": "{type: int, low: 1, high: 9, step: 0}",
            "no choices": "{type: categorical, choices: []}",
            "when without names": "{type: int, low: 1, high: 9, when: 3}",
            "element of a list": "[{type: int, low: 1, high: 9}, {type: int, high: 9}]",
            "number in a list": "[{type: int, low: 1, high: 9}, 5]",
            "empty list": "[]",
        }
        for name, written in cases.items():
            found = train.errors(f"X.batch_size: {written}")

            assert "\n" not in found, name
            message(f"params/range: {name}", found)

    def test_a_space_may_be_empty_but_not_null(self, train, finetune):
        for study in (train, finetune):
            assert study.load("").space == {}
            assert "space is null: must be a mapping" in study.errors("", space=None)

    def test_values_are_checked_after_the_ranges(self, train):
        found = train.errors("""
            X.batch_size: {type: int, low: 9, high: 1}
            X.optimizer: {type: categorical, choices: [adamv]}
        """)

        assert found.startswith("X.batch_size")
        assert "\n" not in found


class TestNames:
    def test_parameters_of_the_section_can_be_searched(self, train, finetune):
        space = """
            X.patience: {type: categorical, choices: [null, 3]}
            X.batch_size: {type: int, low: 8, high: 512, log: true}
            X.learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
            X.nesterov: {type: categorical, choices: [true, false]}
            X.step_epochs: {type: int, low: 1, high: 5, step: 2}
            X.prune_epochs: [{type: int, low: 1, high: 3}, {type: int, low: 4, high: 6}]
        """
        network = """
            X.model.channels: [{type: int, low: 4, high: 8}, {type: int, low: 8, high: 16}]
            X.model.kernel: {type: int, low: 1, high: 11}
            X.model.padding: {type: categorical, choices: [auto, 1, [1, 0]]}
            X.model.hidden: {type: categorical, choices: [[], 64, [64, 32]]}
        """
        head = """
            X.head: [{type: int, low: 16, high: 128}]
            X.freeze_encoder: {type: categorical, choices: [true, false]}
        """

        assert len(train.load(space + network).space) == 10
        assert len(finetune.load(space + head).space) == 8

    def test_other_parameters_cannot(self, train, finetune, message):
        names = ["X.epochs", "X.folds", "X.precision", "X.search", "X.model", "X.", "vae.beta"]
        space = "\n".join(f"{name}: {{type: int, low: 1, high: 2}}" for name in names)
        for study in (train, finetune):
            for name, line in zip(names, study.errors(space).splitlines(), strict=True):
                assert line.startswith(f"{name} is not a parameter that can be searched; ")

        cases = {
            "misspelled": (train, "X.batchsize"),
            "of another section": (train, "finetune.batch_size"),
            "element of a list": (train, "X.model.kernel[0]"),
        }
        for name, (study, path) in cases.items():
            found = study.errors(f"{path}: {{type: int, low: 1, high: 2}}")
            message(f"params/searched: {name}", found)
        assert finetune.errors("train.l1: {type: int, low: 1, high: 2}").startswith("train.l1 is")


class TestSwitches:
    def test_invalid_switches(self, train, message):
        cases = {
            "not used": "depth: {type: int, low: 1, high: 2}",
            "parameter without its section": "batch_size: {type: int, low: 1, high: 2}",
            "list": """
                depth: [{type: int, low: 1, high: 2}]
                X.prune_epochs: [{type: int, low: 1, high: 2, when: {"depth[0]": 2}}]
            """,
            "otherwise": """
                width: {type: int, low: 1, high: 2}
                depth: {type: int, low: 1, high: 2, when: {width: 1}, otherwise: 3}
                X.prune_epochs: [{type: int, low: 1, high: 2, when: {depth: 2}}]
            """,
            "dates": """
                day: {type: categorical, choices: [2024-01-01, 2024-01-02]}
                X.prune_epochs: [{type: int, low: 1, high: 2, when: {day: 1}}]
            """,
        }
        for name, space in cases.items():
            message(f"params/switch: {name}", train.errors(space))

    def test_a_switch_may_depend_on_another_one(self, train):
        assert train.load("""
            width: {type: int, low: 1, high: 2}
            depth: {type: int, low: 1, high: 2, when: {width: 1}}
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {depth: 2}}]
        """)

    def test_a_switch_may_have_words_flags_and_null(self, train):
        assert train.load("""
            kind: {type: categorical, choices: [wide, deep, true, null]}
            X.prune_epochs:
              - {type: int, low: 1, high: 2, when: {kind: wide}}
              - {type: int, low: 1, high: 2, when: {kind: [deep, true]}}
              - {type: int, low: 1, high: 2, when: {kind: null}}
        """)


class TestValues:
    def test_values_that_the_parameter_does_not_allow(self, train, message):
        sgd = "X.optimizer: {type: categorical, choices: [adam, sgd]}\n"
        momentum = "X.momentum: {type: float, low: 0.1, high: 0.9, when: {X.optimizer: sgd}, "
        cases = {
            "choices": "X.optimizer: {type: categorical, choices: [adam, adamv, 3]}",
            "end of a range": "X.batch_size: {type: int, low: -3, high: 5}",
            "floats for an integer": "X.batch_size: {type: float, low: 64.0, high: 192.0}",
            "list for a number": "X.learning_rate: [{type: float, low: 0.1, high: 0.2}]",
            "number for a list": "X.prune_epochs: {type: int, low: 1, high: 3}",
            "range in a list": "X.model.kernel: [{type: int, low: 1, high: 12}]",
            "the word search": "X.optimizer: {type: categorical, choices: [adam, search]}",
            "otherwise": f"{sgd}{momentum}otherwise: 1.5}}",
            "otherwise null": f"{sgd}{momentum}otherwise: null}}",
        }
        for name, space in cases.items():
            message(f"params/range of values: {name}", train.errors(space))

    def test_otherwise_may_be_null_if_the_parameter_may(self, train):
        assert train.load("""
            X.optimizer: {type: categorical, choices: [adam, sgd]}
            X.clip_norm:
              {type: float, low: 0.1, high: 9, when: {X.optimizer: sgd}, otherwise: null}
        """)

    def test_an_end_that_no_step_reaches_does_not_count(self, train):
        assert train.load("X.momentum: {type: float, low: 0.0, high: 1.0, step: 0.3}")

    def test_a_list_may_have_more_ranges_than_values_if_conditions_exclude_each_other(self, train):
        ranges = "".join(
            f"  - {{type: int, low: 4, high: 8, when: {{kind: {kind}}}}}\n"
            for kind in ("narrow", "wide")
            for _ in range(5)
        )

        assert train.load(
            f"kind: {{type: categorical, choices: [narrow, wide]}}\nX.model.channels:\n{ranges}"
        )


class TestConditions:
    def test_conditions_that_are_never_true(self, train, message):
        cases = {
            "unknown name": "X.optimiser: sgd",
            "unknown name unlike any other": "zzz: 3",
            "the range itself": "X.momentum: 0.5",
            "a later range": "'X.prune_epochs[0]': 1",
            "another value": "X.optimizer: muon",
            "one of several values": "X.optimizer: [sgd, muon]",
            "null": "X.optimizer: null",
            "between steps": "X.batch_size: [8, 10]",
            "quoted number": 'X.batch_size: "8"',
            "outside the range": "X.l1: 0.2",
            "second of two conditions": "X.optimizer: sgd, X.batch_size: 0",
            "no values": "X.optimizer: []",
        }
        for name, when in cases.items():
            message(f"params/when: {name}", train.errors(CONDITIONAL.replace("WHEN", when)))

    def test_conditions_that_may_be_true(self, train):
        for when in (
            "X.optimizer: [sgd, adam]",
            "X.batch_size: [12, 16]",
            "X.optimizer: sgd, X.batch_size: 8",
        ):
            assert train.load(CONDITIONAL.replace("WHEN", when))

    def test_a_condition_of_the_first_range(self, train, message):
        space = "X.l1: {type: float, low: 0.1, high: 0.9, when: {X.l1: 1}, otherwise: 0.5}"

        message("params/when: first range", train.errors(space))

    def test_a_condition_on_a_list_names_one_of_its_ranges(self, train, message):
        found = train.errors("""
            X.model.kernel: [{type: int, low: 1, high: 3}]
            X.model.padding: [{type: int, low: 0, high: 1, when: {X.model.kernel: 3}}]
        """)

        message("params/when: list", found)

    def test_a_choice_that_is_a_list_is_written_in_a_list(self, train):
        space = """
            X.model.channels: {type: categorical, choices: [[8, 16], [8]]}
            X.model.kernel: [{type: int, low: 1, high: 3, when: {X.model.channels: VALUE}}]
        """

        assert "X.model.channels = 8, which is not" in train.errors(space.replace("VALUE", "[8]"))
        assert train.load(space.replace("VALUE", "[[8, 16]]"))

    def test_a_range_of_a_list_may_depend_on_earlier_ones_only(self, train):
        first, second = "{type: int, low: 1, high: 2", "{type: int, low: 3, high: 4"

        assert train.load(
            f"X.prune_epochs: [{first}}}, {second}, when: {{'X.prune_epochs[0]': 2}}}}]"
        )
        assert "`when` needs a range above" in train.errors(
            f"X.prune_epochs: [{first}, when: {{'X.prune_epochs[1]': 3}}}}, {second}}}]"
        )

    def test_otherwise_is_required_exactly_for_single_parameters_with_conditions(
        self, train, message
    ):
        cases = {
            "missing": """
                X.optimizer: {type: categorical, choices: [adam, sgd]}
                X.momentum: {type: float, low: 0.1, high: 0.9, when: {X.optimizer: sgd}}
            """,
            "without a condition": "X.clip_norm: {type: float, low: 1, high: 2, otherwise: null}",
            "in a list": """
                depth: {type: int, low: 1, high: 2}
                X.prune_epochs: [{type: int, low: 3, high: 4, when: {depth: 2}, otherwise: 3}]
            """,
        }
        for name, space in cases.items():
            message(f"params/otherwise: {name}", train.errors(space))


class TestStudies:
    def test_each_study_has_a_metric_of_its_own(self, train, finetune, message):
        accuracy, mse = {"validation/accuracy": "maximize"}, {"validation/mse": "minimize"}

        message("params/objective: train", train.errors("", objectives=accuracy))
        message("params/objective: finetune", finetune.errors("", objectives=mse))
        both = {"parameters": "minimize"} | accuracy
        assert "is not a metric of train" in train.errors("", pruner="none", objectives=both)
        for metric in ("validation/loss", "parameters", "operations", "latency"):
            for study in (train, finetune):
                assert study.load("", objectives={metric: "minimize"}).objectives

    def test_errors_of_the_study_and_of_its_space_are_reported_together(self, finetune, message):
        space = "X.batch_size: {type: int, low: 0, high: 2}"

        message("params/study: grid", finetune.errors(space, sampler="grid", trials=9))

    def test_errors_of_both_studies_are_reported_together(self, train, finetune, errors):
        space = "X.batch_size: {type: int, low: 0, high: 9}"

        found = errors(train.changes(space, {}) | finetune.changes(space, {}))

        assert "search.space.train.batch_size contains 0" in found
        assert "finetune.search.space.finetune.batch_size contains 0" in found

    def test_only_search_has_settings_of_its_execution(self, finetune):
        assert "workers is not a known key; allowed: trials, " in finetune.errors("", workers=3)


class TestTheWordSearch:
    def test_it_needs_a_range(self, train, loaded, errors, message):
        space = "X.optimizer: {type: categorical, choices: [adam, sgd]}"
        word = {"train.optimizer": "search"}

        assert loaded(train.changes(space, {}) | word).searched == ("train.optimizer",)
        message("params/search: without a range", errors(train.changes("", {}) | word))

    def test_in_finetune_it_is_not_needed(self, finetune, errors, message):
        space = "X.optimizer: {type: categorical, choices: [adam, sgd]}"
        word = {"finetune.optimizer": "search"}

        message("params/search: in finetune", errors(finetune.changes(space, {}) | word))

    def test_a_range_may_be_unused(self, train, loaded):
        params = loaded(train.changes("X.batch_size: {type: int, low: 1, high: 9}", {}))

        assert params.searched == ()
        assert params.train.batch_size == 32
