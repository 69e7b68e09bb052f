import re

import pytest

from latentlab.errors import ParamsError
from latentlab.params import flatten
from latentlab.params_file import load_params
from latentlab.profile import apply_profile
from latentlab.yaml_files import read_yaml

PROFILES = ["digits", "fashion-mnist", "mnist"]


@pytest.fixture
def shipped(checkout):
    return checkout.params.read_bytes()


def refusal(checkout, name):
    before = checkout.params.read_bytes()
    with pytest.raises(ParamsError) as caught:
        apply_profile(checkout, name)
    assert caught.value.exit_code == 2
    assert checkout.params.read_bytes() == before
    assert not list(checkout.root.glob(".params*"))
    return str(caught.value)


def keys(path):
    return set(flatten(read_yaml(path)))


def test_the_profiles_are_those_tested_here(repository):
    assert sorted(path.stem for path in (repository / "profiles").iterdir()) == PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_gives_valid_parameters_of_its_dataset(checkout, name):
    apply_profile(checkout, name)

    assert load_params(checkout.params).data.name == name


@pytest.mark.parametrize("name", PROFILES)
def test_all_values_of_a_profile_arrive_and_no_other_changes(checkout, name):
    profile = flatten(read_yaml(checkout.profiles / f"{name}.yaml"))
    before = flatten(read_yaml(checkout.params))

    apply_profile(checkout, name)

    assert flatten(read_yaml(checkout.params)) == before | profile


@pytest.mark.parametrize("name", PROFILES)
def test_comments_and_lines_survive(checkout, shipped, name):
    apply_profile(checkout, name)

    def comments(text):
        return [line.partition("#")[2] for line in text.splitlines() if "#" in line]

    assert comments(checkout.params.read_text()) == comments(shipped.decode())


@pytest.mark.parametrize("name", PROFILES)
def test_all_profiles_set_the_same_keys(repository, name):
    profiles = repository / "profiles"
    assert keys(profiles / f"{name}.yaml") == keys(profiles / "digits.yaml")


@pytest.mark.parametrize("others", [["fashion-mnist"], ["mnist"], ["mnist", "fashion-mnist"]])
def test_digits_after_any_others_gives_back_the_shipped_file(checkout, shipped, others):
    for name in (*others, "digits"):
        apply_profile(checkout, name)

    assert checkout.params.read_bytes() == shipped


def test_the_changes_are_told(checkout):
    changes = apply_profile(checkout, "mnist")

    assert "data.name: digits -> mnist" in changes
    assert any(re.fullmatch(r"train\.epochs: \d+ -> \d+", change) for change in changes)
    assert any(re.fullmatch(r"search\.space: \d ranges -> \d ranges", c) for c in changes)


def test_the_profile_in_use_changes_nothing(checkout, shipped):
    assert apply_profile(checkout, "digits") == []
    assert checkout.params.read_bytes() == shipped


def test_what_was_edited_by_hand_stays_where_the_profile_says_nothing(checkout):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("seed: 0 ", "seed: 7 # mine\n  #"))

    apply_profile(checkout, "mnist")

    assert load_params(checkout.params).runtime.seed == 7
    assert "seed: 7 # mine" in checkout.params.read_text()


def test_an_unknown_profile_is_refused_with_the_nearest(checkout):
    message = refusal(checkout, "mnits")
    assert "no profile 'mnits'; did you mean 'mnist'?" in message
    assert "there are: digits, fashion-mnist, mnist" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: {epochs: 0}\n", "mine.yaml:1: train.epochs = 0: must be greater than 0"),
        ("\ntrain:\n  epohcs: 3\n", "mine.yaml:3: train.epohcs is not a known name; did you mean"),
        ("train: 5\n", "mine.yaml:1: train = 5: must be a mapping"),
        ("search:\n  space: {}\n", "train.optimizer = 'search': search.space has no range"),
        ("train: {epochs: 3\n", "mine.yaml:2: not valid YAML"),
        ("- train\n", "mine.yaml: must be a mapping"),
    ],
)
def test_an_invalid_profile_is_told_with_its_own_line_and_changes_nothing(checkout, text, told):
    (checkout.profiles / "mine.yaml").write_text(text)

    message = refusal(checkout, "mine")

    assert told in message
    assert f"{checkout.profiles}/mine.yaml" in message


def test_a_mistake_in_params_yaml_is_no_mistake_of_the_profile(checkout):
    with checkout.params.open("a") as file:
        file.write("misplaced: 1\n")
    line = len(checkout.params.read_text().splitlines())

    message = refusal(checkout, "mnist")

    assert f"{checkout.params}:{line}: misplaced is not a known name" in message
