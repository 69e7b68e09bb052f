import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest

from latentlab.common.errors import ParamsError
from latentlab.params.load import load_params

PLAIN = {
    "channels": "[8, 16]",
    "hidden": "64",
    "latent_dim": "8",
    "optimizer": "adam",
    "learning_rate": "0.004",
    "weight_decay": "0.0",
}
"""Values of train in place of the word `search`."""


@dataclass(frozen=True)
class Study:
    """The shipped params.yaml with another study at `place`, over parameters of `section`.

    In spaces and in what is told of them the section is written X.
    """

    path: Path
    shipped: str
    place: str
    section: str

    def write(self, space, **settings):
        settings = {"trials": 3, "epochs": 2, "max_train_images": 100} | settings
        entries = dedent(space).strip().replace("X.", f"{self.section}.")
        lines = [f"{name}: {value}" for name, value in settings.items()]
        lines.append(f"space:\n{indent(entries, '  ')}" if entries else "space: {}")
        study = "search:\n" + indent("\n".join(lines), "  ") + "\n"
        text = re.sub(r"(?m)^( +(\w+): )search\b", lambda m: m[1] + PLAIN[m[2]], self.shipped)
        if self.place == "search":
            text = re.sub(r"(?ms)^search:.*?(?=^train:)", lambda _: study, text)
        else:
            text = re.sub(r"(?m)^  search: +#.*\n", lambda _: indent(study, "  "), text)
        self.path.write_text(text)

    def load(self, space, **settings):
        self.write(space, **settings)
        params = load_params(self.path)
        return params.search if self.place == "search" else params.finetune.search

    def told(self, space, **settings):
        """Each mistake, without its line, which must be right, and the name of the space."""
        self.write(space, **settings)
        with pytest.raises(ParamsError) as caught:
            load_params(self.path)
        assert caught.value.exit_code == 2
        count, *mistakes = str(caught.value).splitlines()
        assert count.split()[0] == str(len(mistakes))
        return [self._without_line(mistake) for mistake in mistakes]

    def _without_line(self, mistake):
        number, told = re.fullmatch(rf"  {self.path}:(\d+): (.*)", mistake).groups()
        line = self.path.read_text().splitlines()[int(number) - 1].strip()
        assert line.startswith("-") or line.split(":")[0].strip("'") in told
        told = told.removeprefix(f"{self.place}.").removeprefix("space.")
        return re.sub(rf"\b{self.section}\.(?!search: )", "X.", told)


@pytest.fixture(scope="module")
def shipped(repository):
    text = (repository / "params.yaml").read_text()
    # these are half of what takes long to read, and have no part in this
    return re.sub(r"(?ms)^compare:.*?(?=^finetune:)", "compare: {}\n\ndenoise: {}\n\n", text)


@pytest.fixture
def of_train(shipped, tmp_path):
    return Study(tmp_path / "params.yaml", shipped, "search", "train")


@pytest.fixture
def of_finetune(shipped, tmp_path):
    return Study(tmp_path / "params.yaml", shipped, "finetune.search", "finetune")


@pytest.fixture(params=["of_train", "of_finetune"])
def study(request):
    """Both studies in turn: the same holds for each."""
    return request.getfixturevalue(request.param)


class TestRanges:
    @pytest.mark.parametrize(
        ("written", "told"),
        [
            ("5", " = 5: must be a mapping"),
            ("", " is empty: must be a mapping"),
            ("{low: 1, high: 9}", ": needs a type: int, float or categorical"),
            ("{type: integer, low: 1, high: 9}", ": has the type 'integer'; known are 'int'"),
            ("{type: int, high: 9}", ".low is missing"),
            ("{type: int, low: 1, high: 9, lgo: 1}", ".lgo is not a known name; did you mean"),
            ("{type: int, low: 9, high: 1}", ": low must not exceed high"),
            ("{type: int, low: 0, high: 9, log: true}", ": low must not exceed high, and must be"),
            ("{type: int, low: 1, high: 9, log: true, step: 2}", ": a step and log exclude each"),
            ("{type: int, low: 1, high: 9, step: 0}", ".step = 0: must be greater than 0"),
            ("{type: float, low: 0, high: 9, log: true}", ": low must not exceed high, and must"),
            ("{type: categorical, choices: []}", ".choices = []: must not be empty"),
            ("{type: int, low: 1, high: 9, when: 3}", ".when = 3: must be a mapping"),
            ("[{type: int, low: 1, high: 9}, {type: int, high: 9}]", ".1.low is missing"),
            ("[{type: int, low: 1, high: 9}, 5]", ".1 = 5: must be a mapping"),
        ],
    )
    def test_a_range_that_is_none(self, study, written, told):
        mistakes = study.told(f"X.batch_size: {written}")
        assert any(mistake.startswith(f"X.batch_size{told}") for mistake in mistakes)

    @pytest.mark.parametrize(
        "written",
        [
            "{low: 1, high: 9}",
            "{type: int, high: 9}",
            "{type: int, low: 1, high: 9, lgo: 1}",
            "{type: int, low: 9, high: 1}",
            "{type: int, low: 1, high: 9, step: 0}",
            "{type: categorical, choices: []}",
        ],
    )
    def test_one_that_was_meant_as_a_single_range_need_not_be_a_list(self, of_train, written):
        (mistake,) = of_train.told(f"X.batch_size: {written}")
        assert "must be a list" not in mistake

    @pytest.mark.parametrize(
        "written",
        ["{type: int, high: 9}", "{type: int, low: 9, high: 1}", "{type: integer, low: 1}", "5"],
    )
    def test_a_mistake_within_a_list_is_told_once_where_it_is(self, of_train, written):
        (mistake,) = of_train.told(f"X.model.hidden: [{{type: int, low: 1, high: 9}}, {written}]")
        assert mistake.startswith("X.model.hidden.1")

    def test_an_empty_list(self, of_train):
        (mistake,) = of_train.told("X.batch_size: []")
        assert "X.batch_size = []: " in mistake
        assert "must not be empty" in mistake

    def test_a_space_that_is_none(self, study):
        study.write("")
        study.path.write_text(study.path.read_text().replace("space: {}", "space:"))

        with pytest.raises(ParamsError, match=r"search\.space is empty: must be a mapping"):
            load_params(study.path)

    def test_an_empty_space_is_none_of_these(self, study):
        assert study.load("").space == {}

    def test_what_is_wrong_with_a_range_goes_before_what_its_parameter_says(self, of_train):
        mistakes = of_train.told("""
            X.batch_size: {type: int, low: 9, high: 1}
            X.optimizer: {type: categorical, choices: [adamv]}
        """)
        assert all(mistake.startswith("X.batch_size") for mistake in mistakes)


class TestNames:
    def test_every_parameter_of_the_section_can_be_searched(self, study):
        space = study.load("""
            X.patience: {type: categorical, choices: [null, 3]}
            X.batch_size: {type: int, low: 8, high: 512, log: true}
            X.learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
            X.nesterov: {type: categorical, choices: [true, false]}
            X.clip_norm: {type: categorical, choices: [null, 1.0]}
            X.schedule: {type: categorical, choices: [step, cosine]}
            X.step_epochs: {type: int, low: 1, high: 5, step: 2}
            X.prune_epochs: [{type: int, low: 1, high: 3}, {type: int, low: 4, high: 6}]
        """).space
        assert len(space) == 8

    def test_the_shape_of_the_network(self, of_train):
        space = of_train.load("""
            X.model.channels: [{type: int, low: 4, high: 8}, {type: int, low: 8, high: 16}]
            X.model.kernel: {type: int, low: 1, high: 11}
            X.model.padding: {type: categorical, choices: [auto, 1, [1, 0]]}
            X.model.hidden: {type: categorical, choices: [[], 64, [64, 32]]}
            X.model.batch_norm: {type: categorical, choices: [true, false]}
        """).space
        assert len(space) == 5

    def test_the_head_of_the_classifier(self, of_finetune):
        space = of_finetune.load("""
            X.head: [{type: int, low: 16, high: 128}]
            X.freeze_encoder: {type: categorical, choices: [true, false]}
        """).space
        assert len(space) == 2

    def test_a_range_of_what_is_never_searched(self, study):
        names = ["X.epochs", "X.folds", "X.search", "X.model", "X.", "vae.beta", "data.name"]

        mistakes = study.told("\n".join(f"{n}: {{type: int, low: 1, high: 2}}" for n in names))

        for name, mistake in zip(names, mistakes, strict=True):
            assert mistake.startswith(f"{name} is not a parameter to search; ")

    def test_parameters_of_another_section(self, of_train, of_finetune):
        (mistake,) = of_train.told("finetune.batch_size: {type: int, low: 1, high: 2}")
        assert mistake.endswith("is not a parameter to search; did you mean 'X.batch_size'?")

        (mistake,) = of_finetune.told("train.batch_size: {type: int, low: 1, high: 2}")
        assert "train.batch_size is not a parameter to search; " in mistake

    def test_the_nearest_parameter_is_suggested(self, study):
        (mistake,) = study.told("X.batchsize: {type: int, low: 1, high: 2}")
        assert mistake == ("X.batchsize is not a parameter to search; did you mean 'X.batch_size'?")

    def test_a_range_of_a_list_is_not_written_by_itself(self, of_train):
        (mistake,) = of_train.told("X.model.kernel[0]: {type: int, low: 1, high: 2}")
        assert "is not a parameter to search; did you mean 'X.model.kernel'?" in mistake


class TestSwitches:
    def test_one_that_no_condition_names(self, study):
        (mistake,) = study.told("""
            depth: {type: int, low: 1, high: 2}
            X.batch_size: {type: int, low: 1, high: 2}
        """)
        assert mistake.startswith("depth is neither a parameter nor named by a `when`; allowed")

    def test_a_parameter_without_its_section_is_told_with_it(self, of_train):
        (mistake,) = of_train.told("batch_size: {type: int, low: 1, high: 2}")
        assert mistake == (
            "batch_size is neither a parameter nor named by a `when`; did you mean 'X.batch_size'?"
        )

    def test_one_that_is_a_list(self, study):
        mistakes = study.told("""
            depth: [{type: int, low: 1, high: 2}]
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {depth: 2}}]
        """)
        assert mistakes[0] == "depth steers conditions: it must be one range, not a list"

    def test_one_that_is_a_list_of_which_a_condition_names_a_part(self, of_train):
        mistakes = of_train.told("""
            depth: [{type: int, low: 1, high: 2}]
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {"depth[0]": 2}}]
        """)
        assert mistakes[0] == "depth steers conditions: it must be one range, not a list"

    def test_one_has_no_value_otherwise(self, of_train):
        (mistake,) = of_train.told("""
            width: {type: int, low: 1, high: 2}
            depth: {type: int, low: 1, high: 2, when: {width: 1}, otherwise: 3}
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {depth: 2}}]
        """)
        assert mistake == "depth: `otherwise` goes with the `when` of a single parameter"

    def test_one_may_depend_on_another(self, of_train):
        assert of_train.load("""
            width: {type: int, low: 1, high: 2}
            depth: {type: int, low: 1, high: 2, when: {width: 1}}
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {depth: 2}}]
        """)

    def test_one_may_be_of_words_and_truths(self, of_train):
        assert of_train.load("""
            kind: {type: categorical, choices: [wide, deep, true, null]}
            X.prune_epochs:
              - {type: int, low: 1, high: 2, when: {kind: wide}}
              - {type: int, low: 1, high: 2, when: {kind: [deep, true]}}
              - {type: int, low: 1, high: 2, when: {kind: null}}
        """)

    def test_one_of_dates_cannot_be_drawn(self, of_train):
        mistakes = of_train.told("""
            day: {type: categorical, choices: [2024-01-01, 2024-01-02]}
            X.prune_epochs: [{type: int, low: 1, high: 2, when: {day: 2024-01-01}}]
        """)
        assert any(mistake.startswith("day") for mistake in mistakes)


class TestValues:
    def test_those_that_the_parameter_may_not_have_are_told_together(self, study):
        (mistake,) = study.told("X.optimizer: {type: categorical, choices: [adam, adamv, 3]}")
        assert mistake.startswith(
            "X.optimizer allows 'adamv', 3, but X.optimizer must be 'adam', 'adamw',"
        )

    def test_a_range_that_ends_where_the_parameter_may_not_be(self, study):
        (mistake,) = study.told("X.batch_size: {type: int, low: -3, high: 5}")
        assert mistake == "X.batch_size allows -3, but X.batch_size must be greater than 0"

    def test_a_range_of_real_numbers_for_an_integer(self, study):
        (mistake,) = study.told("X.batch_size: {type: float, low: 64.0, high: 192.0}")
        assert mistake.endswith("but X.batch_size must be an integer")

    def test_a_list_of_ranges_where_one_number_is_asked_for(self, of_train):
        (mistake,) = of_train.told("X.learning_rate: [{type: float, low: 0.1, high: 0.2}]")
        assert mistake.startswith("X.learning_rate allows [0.1], ")
        assert mistake.endswith("but X.learning_rate must be a number")

    def test_one_number_where_a_list_is_asked_for(self, of_train):
        (mistake,) = of_train.told("X.prune_epochs: {type: int, low: 1, high: 3}")
        assert mistake == "X.prune_epochs allows 1, 3, but X.prune_epochs must be a list"

    def test_one_range_of_a_list_with_values_that_may_not_be(self, of_train):
        (mistake,) = of_train.told("""
            X.model.kernel: [{type: int, low: 1, high: 11}, {type: int, low: 1, high: 12}]
        """)
        assert mistake == (
            "X.model.kernel allows [12], but X.model.kernel must be less than or equal to 11"
        )

    def test_the_word_search_is_no_value_to_find(self, of_train):
        (mistake,) = of_train.told("X.optimizer: {type: categorical, choices: [adam, search]}")
        assert mistake == "X.optimizer allows 'search', but X.optimizer must be a value"

    def test_what_it_is_otherwise_must_be_allowed_too(self, study):
        (mistake,) = study.told("""
            X.optimizer: {type: categorical, choices: [adam, sgd]}
            X.momentum: {type: float, low: 0.1, high: 0.9, when: {X.optimizer: sgd}, otherwise: 1.5}
        """)
        assert mistake == "X.momentum allows 1.5, but X.momentum must be less than 1"

    @pytest.mark.parametrize("nothing", ["null", ""])
    def test_nothing_otherwise_where_the_parameter_must_have_a_value(self, of_train, nothing):
        (mistake,) = of_train.told(f"""
            X.optimizer: {{type: categorical, choices: [adam, sgd]}}
            X.momentum:
              type: float
              low: 0.1
              high: 0.9
              when: {{X.optimizer: sgd}}
              otherwise: {nothing}
        """)
        assert mistake == "X.momentum allows None, but X.momentum must be a number"

    def test_nothing_otherwise_where_the_parameter_may_be_empty(self, of_train):
        assert of_train.load("""
            X.optimizer: {type: categorical, choices: [adam, sgd]}
            X.clip_norm:
              {type: float, low: 0.1, high: 9, when: {X.optimizer: sgd}, otherwise: null}
        """)

    def test_an_end_that_no_step_reaches_is_not_held_against_a_range(self, of_train):
        assert of_train.load("X.momentum: {type: float, low: 0.0, high: 1.0, step: 0.3}")

    def test_more_ranges_than_the_list_may_be_long_of_which_few_hold_at_a_time(self, of_train):
        kinds = "".join(
            f"  - {{type: int, low: 4, high: 8, when: {{kind: {kind}}}}}\n"
            for kind in ("narrow", "wide")
            for _ in range(5)
        )
        assert of_train.load(
            "kind: {type: categorical, choices: [narrow, wide]}\nX.model.channels:\n" + kinds
        )


def conditional(when):
    return f"""
            X.optimizer: {{type: categorical, choices: [adam, sgd]}}
            X.batch_size: {{type: int, low: 8, high: 16, step: 4}}
            X.l1: {{type: float, low: 0.0, high: 0.1}}
            X.momentum: {{type: float, low: 0.1, high: 0.9, when: {{{when}}}, otherwise: 0.5}}
            X.prune_epochs: [{{type: int, low: 1, high: 2}}]
        """


class TestConditions:
    @pytest.mark.parametrize(
        ("when", "told"),
        [
            ("X.optimiser: sgd", "'X.optimiser', which is not drawn before it; did you mean"),
            ("X.momentum: 0.5", "'X.momentum', which is not drawn before it; "),
            ("'X.prune_epochs[0]': 1", "'X.prune_epochs[0]', which is not drawn before it; "),
            ("zzz: 3", "'zzz', which is not drawn before it; allowed here: X.optimizer, X.batch"),
        ],
    )
    def test_one_on_what_is_not_drawn_before(self, of_train, when, told):
        (mistake,) = of_train.told(conditional(when))
        assert mistake.startswith(f"X.momentum: `when` names {told}")

    def test_one_of_the_first_range(self, of_train):
        (mistake,) = of_train.told("""
            X.momentum: {type: float, low: 0.1, high: 0.9, when: {X.l1: 1}, otherwise: 0.5}
        """)
        assert mistake.endswith("names 'X.l1', which is not drawn before it; it is the first")

    def test_one_on_a_list_names_a_range_of_it(self, of_train):
        (mistake,) = of_train.told("""
            X.model.kernel: [{type: int, low: 1, high: 3}, {type: int, low: 1, high: 3}]
            X.model.padding: [{type: int, low: 0, high: 1, when: {X.model.kernel: 3}}]
        """)
        assert mistake == (
            "X.model.padding: `when` names 'X.model.kernel', which is not drawn before it; "
            "did you mean 'X.model.kernel[1]'?"
        ) or mistake.endswith("did you mean 'X.model.kernel[0]'?")

    @pytest.mark.parametrize(
        ("when", "value"),
        [
            ("X.optimizer: muon", "X.optimizer = 'muon'"),
            ("X.optimizer: [sgd, muon]", "X.optimizer = 'muon'"),
            ("X.optimizer: null", "X.optimizer = None"),
            ("X.batch_size: 7", "X.batch_size = 7"),
            ("X.batch_size: [8, 17]", "X.batch_size = 17"),
            ('X.batch_size: "8"', "X.batch_size = '8'"),
            ("X.l1: 0.2", "X.l1 = 0.2"),
            ("X.optimizer: sgd, X.batch_size: 0", "X.batch_size = 0"),
        ],
    )
    def test_one_that_can_never_hold(self, of_train, when, value):
        (mistake,) = of_train.told(conditional(when))
        assert mistake == f"X.momentum: `when` waits for {value}, which is never drawn"

    @pytest.mark.parametrize("value", [10, "[8, 10]", 8.5])
    def test_one_that_waits_for_a_number_between_steps(self, of_train, value):
        (mistake,) = of_train.told(conditional(f"X.batch_size: {value}"))
        assert mistake.startswith("X.momentum: `when` waits for X.batch_size = ")

    def test_one_that_waits_for_nothing(self, of_train):
        (mistake,) = of_train.told(conditional("X.optimizer: []"))
        assert mistake.startswith("X.momentum: `when` ")

    def test_lists_to_choose_from_are_named_within_a_list(self, of_train):
        space = """
            X.model.channels: {type: categorical, choices: [[8, 16], [8]]}
            X.model.kernel: [{type: int, low: 1, high: 3, when: {X.model.channels: WANTED}}]
        """

        (mistake,) = of_train.told(space.replace("WANTED", "[8, 16]"))
        assert mistake.endswith("waits for X.model.channels = 8, which is never drawn")
        assert of_train.load(space.replace("WANTED", "[[8, 16]]"))

    @pytest.mark.parametrize(
        "when",
        [
            "X.optimizer: sgd",
            "X.optimizer: [sgd, adam]",
            "X.batch_size: 8",
            "X.batch_size: [12, 16]",
            "X.optimizer: sgd, X.batch_size: 8",
        ],
    )
    def test_these_may_hold(self, of_train, when):
        assert of_train.load(conditional(when))

    def test_a_range_of_a_list_may_depend_on_those_before_it(self, of_train):
        assert of_train.load("""
            X.prune_epochs:
              - {type: int, low: 1, high: 2}
              - {type: int, low: 3, high: 4, when: {"X.prune_epochs[0]": 2}}
        """)

    def test_but_not_on_those_after_it(self, of_train):
        (mistake,) = of_train.told("""
            X.prune_epochs:
              - {type: int, low: 1, high: 2, when: {"X.prune_epochs[1]": 3}}
              - {type: int, low: 3, high: 4}
        """)
        assert "`when` names 'X.prune_epochs[1]', which is not drawn before it" in mistake


class TestOtherwise:
    def test_a_parameter_with_a_condition_says_what_it_is_otherwise(self, study):
        (mistake,) = study.told("""
            X.optimizer: {type: categorical, choices: [adam, sgd]}
            X.momentum: {type: float, low: 0.1, high: 0.9, when: {X.optimizer: sgd}}
        """)
        assert mistake == (
            "X.momentum has a `when`; say with `otherwise` what it is where that does not hold"
        )

    @pytest.mark.parametrize("value", ["0.5", "null"])
    def test_a_parameter_without_a_condition_does_not(self, of_train, value):
        (mistake,) = of_train.told(
            f"X.clip_norm: {{type: float, low: 0.1, high: 0.9, otherwise: {value}}}"
        )
        assert mistake == "X.clip_norm: `otherwise` goes with the `when` of a single parameter"

    def test_a_range_of_a_list_does_not(self, of_train):
        (mistake,) = of_train.told("""
            depth: {type: int, low: 1, high: 2}
            X.prune_epochs:
              - {type: int, low: 1, high: 2}
              - {type: int, low: 3, high: 4, when: {depth: 2}, otherwise: 3}
        """)
        assert mistake == "X.prune_epochs: `otherwise` goes with the `when` of a single parameter"


class TestObjectives:
    def test_train_has_no_accuracy(self, of_train):
        (mistake,) = of_train.told("", objectives="{validation/accuracy: maximize}")
        assert mistake == (
            "objectives.validation/accuracy is no figure of train; it has validation/mse"
        )

    def test_finetune_has_no_squared_error(self, of_finetune):
        (mistake,) = of_finetune.told("", objectives="{validation/mse: minimize}")
        assert mistake == (
            "objectives.validation/mse is no figure of finetune; it has validation/accuracy"
        )

    @pytest.mark.parametrize("figure", ["validation/loss", "parameters", "operations", "latency"])
    def test_what_both_have(self, of_train, figure):
        objectives = of_train.load("", objectives=f"{{{figure}: minimize}}").objectives
        assert objectives == {figure: "minimize"}

    def test_one_of_several_that_is_foreign(self, of_train):
        (mistake,) = of_train.told(
            "", pruner="none", objectives="{parameters: minimize, validation/accuracy: maximize}"
        )
        assert mistake.startswith("objectives.validation/accuracy is no figure of train")

    def test_a_direction_that_is_none_is_told(self, study):
        (mistake,) = study.told("", objectives="{validation/loss: up}")
        assert mistake.startswith("objectives.validation/loss = 'up': must be 'minimize' or")


class TestTheStudyAsAWhole:
    """The rules of `search_params` and those of the space are told together."""

    def test_what_the_sampler_cannot_do(self, study):
        told = study.told("X.l1: {type: float, low: 0.0, high: 0.1}", sampler="grid")
        assert told == [
            f"{study.place}: a grid needs a step in each range of floats, and no `when`"
        ]

    def test_also_beside_a_mistake_in_the_space(self, study):
        first, second = study.told(
            "X.batch_size: {type: int, low: 0, high: 2}", sampler="grid", trials=9
        )
        assert first.endswith(": the grid has 3 points; write at most that many trials")
        assert second.startswith("X.batch_size allows 0, but")

    def test_where_it_runs_is_said_in_search_alone(self, of_finetune):
        (mistake,) = of_finetune.told("", workers=3)
        assert mistake.startswith("workers is not a known name; allowed here: trials, ")


class TestTheWordSearch:
    def ask(self, study, space):
        study.write(space)
        before, section, after = study.path.read_text().partition(f"\n{study.section}:")
        asked = re.sub(r"\n  optimizer: \w+", "\n  optimizer: search", after, count=1)
        study.path.write_text(before + section + asked)
        return load_params(study.path)

    def test_it_takes_what_a_range_of_the_space_gives(self, of_train):
        params = self.ask(of_train, "X.optimizer: {type: categorical, choices: [adam, sgd]}")
        assert params.searched == ("train.optimizer",)

    def test_without_a_range(self, of_train):
        with pytest.raises(ParamsError) as caught:
            self.ask(of_train, "X.batch_size: {type: int, low: 1, high: 9}")
        assert (
            "train.optimizer = 'search': search.space has no range for it; add one there, "
            "or write a value here"
        ) in str(caught.value)

    @pytest.mark.parametrize(
        "space", ["", "X.optimizer: {type: categorical, choices: [adam, sgd]}"]
    )
    def test_in_finetune_what_is_found_needs_no_word(self, of_finetune, space):
        with pytest.raises(ParamsError, match=r"finetune\.optimizer = 'search': .*write a value"):
            self.ask(of_finetune, space)

    def test_in_finetune_it_is_not_said_that_nothing_of_it_is_searched(self, of_finetune):
        with pytest.raises(ParamsError) as caught:
            self.ask(of_finetune, "X.optimizer: {type: categorical, choices: [adam, sgd]}")
        assert "only parameters of train are searched" not in str(caught.value)

    @pytest.mark.parametrize("place", ["vae.model.hidden", "vae.optimizer"])
    def test_in_other_sections(self, of_train, place):
        of_train.write("")
        *_, name = place.split(".")
        before, section, after = of_train.path.read_text().partition("\nvae:")
        asked = re.sub(rf"\n( +{name}): \w+", r"\n\1: search", after, count=1)
        of_train.path.write_text(before + section + asked)

        with pytest.raises(ParamsError) as caught:
            load_params(of_train.path)
        assert (
            f"{place} = 'search': only train takes what the study found by this word; "
            "write a value here"
        ) in str(caught.value)

    def test_a_range_may_be_there_without_being_used(self, of_train):
        assert of_train.load("X.batch_size: {type: int, low: 1, high: 9}")
        params = load_params(of_train.path)
        assert params.searched == ()
        assert params.train.batch_size == 32


def test_mistakes_of_both_studies_are_told_at_once(of_train, of_finetune, shipped):
    of_train.write("train.batch_size: {type: int, low: 0, high: 9}")
    written = of_train.path.read_text()
    space = "finetune.batch_size: {type: int, low: 0, high: 9}"
    Study(of_finetune.path, written, "finetune.search", "finetune").write(space)

    with pytest.raises(ParamsError) as caught:
        load_params(of_finetune.path)

    assert "search.space.train.batch_size allows 0" in str(caught.value)
    assert "finetune.search.space.finetune.batch_size allows 0" in str(caught.value)


def test_a_finetune_without_a_search_has_none(of_train):
    of_train.write("")
    assert load_params(of_train.path).finetune.search is None
