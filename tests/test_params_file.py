import re

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from latentlab.errors import ParamsError
from latentlab.params import SEARCH, flatten, resolve, with_values
from latentlab.params_file import load_params
from latentlab.yaml_files import read_yaml

DELETED = object()
HIDDEN = "search.space.train.model.hidden"
OPTIMIZER = "search.space.train.optimizer"


@pytest.fixture
def params(repository):
    return load_params(repository / "params.yaml")


@pytest.fixture
def edit(repository, tmp_path):
    """The shipped params.yaml with other values at dotted paths."""

    def edited(changes):
        document = read_yaml(repository / "params.yaml")
        for path, value in changes.items():
            put(document, keys_of(path), value)
        yaml = YAML(typ="rt")
        yaml.width = 4096
        yaml.dump(document, tmp_path / "params.yaml")
        return tmp_path / "params.yaml"

    return edited


@pytest.fixture
def refusal(edit):
    """What is said of the shipped params.yaml with other values at dotted paths."""

    def refused(changes):
        path = edit(changes)
        return without_lines(refuse(path), path)

    return refused


def keys_of(path):
    """The names of parameters are keys of their own in the space of the search."""
    if path.startswith("search.space."):
        return ["search", "space", path.removeprefix("search.space.")]
    return path.split(".")


def put(document, keys, value):
    *parents, leaf = keys
    for key in parents:
        document = document[key]
    if value is DELETED:
        del document[leaf]
    else:
        document[leaf] = value


def refuse(path):
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), "params.yaml")


def without_lines(message, path):
    """The message without its line numbers, which must be right."""
    lines = path.read_text().splitlines()

    def checked(match):
        number, place = match.groups()
        # what is missing is told with the line of its section, a section with the first line
        names = place.split(".")[-2:]
        assert number == "1" or any(name in lines[int(number) - 1] for name in names)
        return f"params.yaml: {place}"

    return re.sub(r"params\.yaml:(\d+): ([\w.]+)", checked, message)


def test_the_shipped_file_is_valid(repository):
    assert load_params(repository / "params.yaml").data.name == "digits"


class TestOneMistake:
    """Every mistake is told with file and line, dotted path, value found and what is allowed."""

    @pytest.mark.parametrize(
        ("path", "value", "told"),
        [
            ("data.image_size", 30, " = 30: must be a multiple of 4"),
            ("data.image_size", 4, " = 4: must be greater than or equal to 8"),
            ("search.trials", "eight", " = 'eight': must be an integer"),
            ("search.trials", 8.5, " = 8.5: must be an integer"),
            ("gan.noise_dim", 0, " = 0: must be greater than 0"),
            ("gan.noise_dim", "search", " = 'search': must be an integer"),
            ("vae.beta", float("nan"), " = nan: must be a finite number"),
            ("vae.beta", "much", " = 'much': must be a number"),
            ("finetune.freeze_encoder", "maybe", " = 'maybe': must be true or false"),
            ("finetune.head", 64, " = 64: must be a list"),
            ("finetune.head", [64, -1], ".1 = -1: must be greater than 0"),
            ("vae.model.channels", [], " = []: must not be empty"),
            ("data.name", None, " is empty: must be text"),
            ("data.name", 2024, " = 2024: must be text; what looks like a number or a date needs"),
            ("data.name", "../elsewhere", " = '../elsewhere': must match ^[A-Za-z0-9]"),
            ("runtime.threads", "many", " = 'many': must be an integer or must be 'auto'"),
            ("runtime.threads", 0, " = 0: must be greater than 0 or must be 'auto'"),
            ("evaluate", None, " is empty: must be a mapping"),
        ],
    )
    def test_a_value_that_is_not_allowed(self, refusal, path, value, told):
        message = refusal({path: value})

        assert message.startswith(f"1 mistake, nothing was done:\n  params.yaml: {path}{told}")

    def test_values_that_do_not_go_together(self, refusal):
        message = refusal({"data.validation_fraction": 0.5, "data.test_fraction": 0.5})
        assert "data: validation_fraction + test_fraction must be below 1" in message

    def test_a_wrong_word_is_told_with_all_words_and_the_nearest(self, refusal):
        assert (
            "train.schedule = 'onecycle': must be 'one_cycle', 'cosine' or 'constant'; "
            "did you mean 'one_cycle'?"
        ) in refusal({"train.schedule": "onecycle"})

    def test_a_number_in_quotes_is_told_to_lose_them(self, refusal):
        message = refusal({"data.channels": "3"})
        assert "data.channels = '3': must be 'auto', 1 or 3; write it without quotes" in message

    def test_the_word_search_is_suggested_where_it_may_stand(self, refusal):
        assert "did you mean 'search'?" in refusal({"train.optimizer": "serach"})
        assert "did you mean" not in refusal({"train.epochs": "serach"})
        assert "did you mean" not in refusal({"vae.model.hidden": "serach"})

    def test_an_unknown_name_is_told_with_the_nearest(self, refusal):
        message = refusal({"gan.epohcs": 4})
        assert "gan.epohcs is not a known name; did you mean 'epochs'?" in message

    def test_an_unknown_name_unlike_any_other_is_told_with_all(self, refusal):
        message = refusal({"runtime.zzz": 4})
        assert "runtime.zzz is not a known name; allowed here: seed, device, threads" in message

    def test_an_unknown_section_is_told_with_the_nearest(self, refusal):
        assert "finetun is not a known name; did you mean 'finetune'?" in refusal({"finetun": 4})

    def test_a_missing_value_is_told_with_what_it_must_be(self, refusal):
        message = refusal({"gan.noise_dim": DELETED})
        assert "gan.noise_dim is missing; it must be an integer" in message

    def test_a_missing_section_is_told_with_its_names(self, refusal):
        message = refusal({"runtime": DELETED})
        assert "runtime is missing; it must be a mapping of seed, device, threads" in message


class TestTheSpaceOfTheSearch:
    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            (5, " = 5: must be a mapping"),
            ({"low": 1, "high": 9}, ": needs a type: int, float or categorical"),
            ({"type": "integer", "low": 1, "high": 9}, ": has the type 'integer'; known are 'int'"),
            ({"type": "int", "high": 9}, ".low is missing"),
            ({"type": "int", "low": 1, "high": 9, "lgo": 1}, ".lgo is not a known name; did you"),
            ({"type": "int", "low": 9, "high": 1}, ": low must not exceed high"),
            ({"type": "int", "low": 0, "high": 9, "log": True}, ": low must not exceed high, and"),
            ({"type": "categorical", "choices": []}, ".choices = []: must not be empty"),
        ],
    )
    def test_a_range_that_is_none(self, refusal, choice, told):
        assert f"{HIDDEN}{told}" in refusal({HIDDEN: choice})

    def test_a_space_that_is_none(self, refusal):
        assert "search.space is empty: must be a mapping" in refusal({"search.space": None})

    @pytest.mark.parametrize("name", ["train.model.hiden", "train.epochs", "vae.beta"])
    def test_a_range_of_what_is_never_searched(self, refusal, name):
        message = refusal({f"search.space.{name}": {"type": "int", "low": 1, "high": 2}})
        assert f"search.space.{name} is not a parameter to search; " in message

    def test_the_nearest_parameter_is_suggested(self, refusal):
        message = refusal({"search.space.train.model.hiden": {"type": "int", "low": 1, "high": 2}})
        assert "did you mean 'train.model.hidden'?" in message

    def test_values_that_the_parameter_may_not_have_are_told_together(self, refusal):
        message = refusal({OPTIMIZER: {"type": "categorical", "choices": ["adam", "adamv", 3]}})
        assert (
            f"{OPTIMIZER} allows 'adamv', 3, but train.optimizer must be 'adam', 'adamw',"
        ) in message

    def test_a_range_that_ends_where_the_parameter_may_not_be(self, refusal):
        message = refusal({HIDDEN: {"type": "int", "low": -3, "high": 5}})
        assert f"{HIDDEN} allows -3, but train.model.hidden must be greater than 0" in message

    def test_the_word_search_is_no_value_to_find(self, refusal):
        message = refusal({OPTIMIZER: {"type": "categorical", "choices": ["search"]}})
        assert f"{OPTIMIZER} allows 'search', but train.optimizer must be a value" in message

    def test_the_word_search_without_a_range(self, refusal):
        message = refusal({"train.model.hidden": "search", HIDDEN: DELETED})
        assert (
            "train.model.hidden = 'search': search.space has no range for it; add one there, "
            "or write a value here"
        ) in message

    def test_the_word_search_outside_of_train(self, refusal):
        assert (
            "vae.model.hidden = 'search': only parameters of train are searched; write a value here"
        ) in refusal({"vae.model.hidden": "search"})

    def test_a_range_may_be_there_without_being_used(self, edit):
        path = edit({"train.model.hidden": 99, HIDDEN: {"type": "int", "low": 1, "high": 2}})

        params = load_params(path)

        assert params.train.model.hidden == 99
        assert "train.model.hidden" not in params.searched


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(refusal):
    message = refusal(
        {
            "gan.adam_beta1": DELETED,
            "gan.adam_beta": 0.5,
            "vae.likelihood": "gausian",
            "vae.model.hidden": "search",
            HIDDEN: {"type": "int", "low": 0, "high": 9},
            "runtime.seed": -1,
        }
    )

    first, *others = message.splitlines()
    assert first == "6 mistakes, nothing was done:"
    assert [line.split()[1] for line in others] == [
        "runtime.seed",
        HIDDEN,
        "vae.model.hidden",
        "vae.likelihood",
        "gan.adam_beta1",
        "gan.adam_beta",
    ]


class TestFilesThatAreNoParameters:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("data:\n  name: [1, 2\n", ":3: not valid YAML: "),
            ("data:\n\tname: x\n", ":2: not valid YAML: found character '\\t'"),
            ("a: 1\nb: 2\na: 3\n", ':3: not valid YAML: found duplicate key "a"'),
            ("a: 1\n---\nb: 2\n", ":2: not valid YAML: but found another document"),
            ("a: 1\nb: \x01\n", ":2: not valid YAML: special characters"),
            ("a: 2024-13-45\n", ": not valid YAML: month must be in 1..12"),
            ("", ": must be a mapping"),
            ("- a\n- b\n", ": must be a mapping"),
            ("text", ": must be a mapping"),
        ],
    )
    def test_what_is_not_a_yaml_mapping_is_refused_with_its_line(self, tmp_path, text, told):
        (tmp_path / "params.yaml").write_text(text)
        assert refuse(tmp_path / "params.yaml").startswith(f"params.yaml{told}")

    def test_a_missing_file(self, tmp_path):
        assert "params.yaml does not exist" in refuse(tmp_path / "params.yaml")

    def test_a_file_that_is_not_utf_8(self, tmp_path):
        (tmp_path / "params.yaml").write_bytes(b"name: \xff\xfe\n")
        assert "params.yaml is not UTF-8 text" in refuse(tmp_path / "params.yaml")

    def test_the_byte_order_mark_of_some_editors_is_no_mistake(self, repository, tmp_path):
        text = (repository / "params.yaml").read_text()
        (tmp_path / "params.yaml").write_text("\ufeff" + text, encoding="utf-8")

        assert load_params(tmp_path / "params.yaml").data.name == "digits"


class TestValues:
    @pytest.fixture
    def found(self, params):
        """What a study might find for every range of the space."""
        return {path: choice.examples[-1] for path, choice in params.search.space.items()}

    def test_the_searched_parameters_are_those_that_say_search(self, params):
        words = {path for path, value in flatten(params.tree()).items() if value == SEARCH}
        assert set(params.searched) == words

    def test_what_the_study_found_takes_the_place_of_the_word(self, params, found):
        resolved = flatten(resolve(params, found).tree())

        assert {path: resolved[path] for path in params.searched} == found
        assert SEARCH not in resolved.values()

    def test_all_else_stays_as_it_was(self, params, found):
        before, after = flatten(params.tree()), flatten(resolve(params, found).tree())

        assert {path for path in before if before[path] != after[path]} == set(params.searched)

    def test_what_was_found_for_a_fixed_parameter_is_not_used(self, params, found):
        fixed = with_values(params, {"train.optimizer": "sgd"})
        assert resolve(fixed, found | {"train.optimizer": "adam"}).train.optimizer == "sgd"

    def test_values_are_replaced_in_a_copy(self, params):
        changed = with_values(params, {"vae.beta": 7.0, "vae.model.channels": [2, 3]})

        assert changed.vae.beta == 7.0
        assert changed.vae.model.channels == (2, 3)
        assert changed != params
        assert with_values(changed, {"vae": params.vae.tree()}) == params

    def test_values_are_validated(self, params):
        with pytest.raises(ValidationError):
            with_values(params, {"train.optimizer": "adamv"})


def test_an_encoder_with_more_layers_than_the_image_has_halves_is_refused(refusal):
    told = refusal({"vae.model.channels": [4, 4, 4, 4, 4]})

    assert "vae.model.channels = [4, 4, 4, 4, 4]: has 5 layers" in told
    assert "28 pixels can be halved 4 times" in told


def test_a_range_of_real_numbers_for_an_integer_is_refused(refusal):
    told = refusal({HIDDEN: {"type": "float", "low": 64.0, "high": 192.0}})

    assert "but train.model.hidden must be an integer" in told
