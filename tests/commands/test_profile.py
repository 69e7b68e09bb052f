import re
import shutil
from functools import cached_property, partial

import optuna
import pytest
from ruamel.yaml import YAML

from latentlab.commands.profile import apply_profile
from latentlab.common.errors import ParamsError
from latentlab.common.project import Project
from latentlab.data.catalogue import KNOWN
from latentlab.data.image_set import DatasetInfo
from latentlab.params.fields import flatten
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.params.yaml_io import read_yaml
from latentlab.search.space import suggest_values
from latentlab.stages import search
from latentlab.stages.finetune import stage as finetune

PROFILES = ["digits", "fashion-mnist", "mnist"]
CLASSIFIER = "fashion-mnist-classifier"
REPORTS = ["report-r0", "report-r1", "report-r2", "report-r3", "report-r4"]
DRAWS = 200
INFO = DatasetInfo("clothes", ["a", "b", "c"], [1, 28, 28], {}, [0.3], [0.3], {}, "")


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
    assert {path.stem for path in (repository / "profiles").iterdir()} == {
        *PROFILES,
        CLASSIFIER,
        *REPORTS,
    }


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


def test_entries_that_somebody_removed_are_not_brought_back(checkout):
    yaml = YAML()
    document = yaml.load(checkout.params)
    del document["compare"]["optimizer"], document["denoise"]["unet"]
    yaml.dump(document, checkout.params)

    apply_profile(checkout, "fashion-mnist")

    params = load_params(checkout.params)
    assert "optimizer" not in params.compare
    assert "unet" not in params.denoise
    assert params.data.name == "fashion-mnist"


def test_an_unknown_profile_is_refused_with_the_nearest(checkout):
    message = refusal(checkout, "mnits")
    assert "no profile 'mnits'; did you mean 'mnist'?" in message
    assert "there are: digits, fashion-mnist, fashion-mnist-classifier, mnist" in message


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


def test_objectives_belong_together_too_and_are_not_mixed(checkout):
    (checkout.profiles / "mine.yaml").write_text(
        "search: {pruner: none, objectives: {parameters: minimize}}\n"
    )

    apply_profile(checkout, "mine")

    assert load_params(checkout.params).search.objectives == {"parameters": "minimize"}


def test_only_ranges_are_counted_as_ranges(checkout):
    told = [each for each in apply_profile(checkout, "report-r3") if "finetune.search" in each]

    assert not any("5 ranges" in each for each in told)


class Applied:
    """A report's search as `params.yaml` holds it after its profile was applied."""

    def __init__(self, repository, root, name):
        shutil.copy(repository / "params.yaml", root)
        shutil.copytree(repository / "profiles", root / "profiles")
        self.project = Project(root, root)
        self.changes = apply_profile(self.project, name)
        self.params = load_params(self.project.params)

    def drawn(self, space, candidate):
        """What was drawn, its values, and what they make or the reason why they make nothing."""
        for seed in range(DRAWS):
            trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
            values = suggest_values(trial, space)
            try:
                made = candidate(values)
            except ValueError as impossible:
                made = str(impossible)
            yield trial.params, values, made

    @cached_property
    def candidates(self):
        candidate = partial(search.candidate, self.params, INFO)
        return list(self.drawn(self.params.search.space, candidate))


@pytest.fixture(scope="module")
def report(repository, tmp_path_factory):
    """Each report, applied once for all tests."""
    applied = {}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def get(name):
        if name not in applied:
            applied[name] = Applied(repository, tmp_path_factory.mktemp(name), name)
        return applied[name]

    yield get
    optuna.logging.set_verbosity(before)


def test_the_profile_of_a_classifier_goes_on_from_that_of_its_dataset(checkout, repository):
    apply_profile(checkout, "fashion-mnist")
    apply_profile(checkout, CLASSIFIER)

    arrived = flatten(read_yaml(checkout.params))
    profile = flatten(read_yaml(repository / "profiles" / f"{CLASSIFIER}.yaml"))
    assert {path: arrived[path] for path in profile} == profile
    params = load_params(checkout.params)
    assert not params.searched
    assert Architecture.of(params.train.model, INFO).flat == 128 * 3 * 3


class TestReports:
    @pytest.mark.parametrize("name", REPORTS)
    def test_it_applies_and_all_of_it_arrives(self, report, repository, name):
        profile = flatten(read_yaml(repository / "profiles" / f"{name}.yaml"))

        applied = report(name)

        assert applied.changes
        arrived = flatten(read_yaml(applied.project.params))
        assert {path: arrived[path] for path in profile} == profile

    @pytest.mark.parametrize("name", REPORTS)
    def test_it_searches_all_that_its_space_has(self, report, name):
        params = report(name).params
        parameters = {path for path in params.search.space if "." in path}

        assert set(params.searched) == parameters

    @pytest.mark.parametrize("name", ["report-r0", "report-r1", "report-r3", "report-r4"])
    def test_every_draw_can_be_built(self, report, name):
        applied = report(name)

        for _, values, made in applied.candidates:
            assert not isinstance(made, str), (values, made)
            assert Architecture.of(made.settings.model, INFO).flat > 0
            assert made.settings.epochs == applied.params.search.epochs
            assert "search" not in flatten(made.settings.tree()).values()

    def test_the_networks_of_r0_have_three_convolutions(self, report):
        for _, values, _ in report("report-r0").candidates:
            narrow, middle, wide = values["train.model.channels"]
            assert 8 <= narrow <= 10
            assert 15 <= middle <= 20
            assert 25 <= wide <= 35

    def test_the_networks_of_r1_have_as_many_convolutions_as_the_switch_says(self, report):
        depths = set()
        for drawn, values, _ in report("report-r1").candidates:
            channels = values["train.model.channels"]
            depths.add(len(channels))
            assert len(channels) == drawn["convolutions"]
            assert channels[0] % 4 == 0
            assert channels[0] <= (16 if len(channels) == 3 else 20)

        assert depths == {3, 4}

    def test_the_networks_of_r2_can_be_built_or_say_at_which_layer_the_image_vanishes(self, report):
        built = 0
        for _, values, made in report("report-r2").candidates:
            if isinstance(made, str):
                layers = len(values["train.model.channels"])
                told = rf"the image vanishes at convolution [1-{layers}] of {layers}: .*"
                assert re.fullmatch(told, made), values
            else:
                built += 1
                assert Architecture.of(made.settings.model, INFO).flat > 0
                assert made.settings.patience == values["train.patience"]

        assert DRAWS / 2 < built < DRAWS

    def test_the_networks_of_r2_have_a_kernel_a_stride_and_a_padding_for_each_layer(self, report):
        depths, widths = set(), set()
        for drawn, values, _ in report("report-r2").candidates:
            model = {name.removeprefix("train.model."): value for name, value in values.items()}
            depth = drawn["convolutions"]
            depths.add(depth)
            widths.add(len(model["hidden"]))
            for name in ("channels", "kernel", "stride", "padding"):
                assert len(model[name]) == depth, (name, values)
            for kernel, padding in zip(model["kernel"], model["padding"], strict=True):
                assert padding <= kernel / 2
            assert len(model["hidden"]) == drawn["linear"] - 1

        assert depths == {2, 3, 4}
        assert widths == {0, 1, 2}

    def test_the_heads_of_r3_are_one_layer_on_a_frozen_encoder(self, report, tmp_path):
        applied = report("report-r3")
        study = applied.params.finetune.search
        candidate = partial(finetune.candidate, applied.params, tmp_path, INFO)

        heads = set()
        for _, values, made in applied.drawn(study.space, candidate):
            assert not isinstance(made, str), (values, made)
            (width,) = made.settings.head
            assert 16 <= width <= 128
            assert made.settings.freeze_encoder
            assert made.settings.epochs == study.epochs
            heads.add(width)

        assert len(heads) > 50


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_the_walks_of_a_profile_are_between_classes_of_its_dataset(checkout, name):
    apply_profile(checkout, name)

    walks = load_params(checkout.params).evaluate.walks
    assert {each for pair in walks for each in pair} <= set(KNOWN[name].classes)
    assert len(walks) == 2
