"""`latentlab profile`: every profile is valid, complete and leaves no traces of the one before."""

import re
import shutil
from functools import cached_property, partial

import optuna
import pytest
from ruamel.yaml import YAML

from latentlab.commands.profile import REPLACED, apply_profile
from latentlab.common.errors import ParamsError
from latentlab.common.project import Project
from latentlab.data.catalog import KNOWN
from latentlab.data.image_set import DatasetInfo
from latentlab.params.fields import flatten
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.params.yaml_io import read_plain
from latentlab.search.space import suggest_values
from latentlab.stages import search
from latentlab.stages.finetune import stage as finetune

PROFILES = ["digits", "fashion-mnist", "mnist"]
CLASSIFIER = "fashion-mnist-classifier"
REPORTS = ["report-r0", "report-r1", "report-r2", "report-r3", "report-r4"]
SAMPLES = 200
INFO = DatasetInfo("clothes", ["a", "b", "c"], [1, 28, 28], {}, [0.3], [0.3], {}, "")


@pytest.fixture
def shipped(checkout):
    return checkout.params.read_bytes()


@pytest.fixture
def error(checkout):
    """Return a function that gives the error of a profile, which must leave no changes."""

    def apply(name, text=None):
        if text is not None:
            (checkout.profiles / f"{name}.yaml").write_text(text)
        before = checkout.params.read_bytes()
        with pytest.raises(ParamsError) as caught:
            apply_profile(checkout, name)
        assert caught.value.exit_code == 2
        assert checkout.params.read_bytes() == before
        assert not list(checkout.root.glob(".params*"))
        return str(caught.value)

    return apply


class TestProfiles:
    """The profiles of the repository."""

    def test_all_profiles_are_tested_here(self, repository):
        names = {path.stem for path in (repository / "profiles").iterdir()}

        assert names == {*PROFILES, CLASSIFIER, *REPORTS}

    def test_each_starts_with_its_purpose_command_time_and_expected_results(self, repository):
        for path in (repository / "profiles").iterdir():
            comment = path.read_text().partition("\ndata:")[0]

            fields = re.findall(r"^#   (\w+)  ", comment, re.MULTILINE)
            assert fields == ["command", "time", "expected", "n"], path.stem

    def test_profiles_of_datasets_contain_the_same_keys(self, repository):
        keys = [set(flatten(read_plain(repository / f"profiles/{name}.yaml"))) for name in PROFILES]

        assert all(each == keys[0] for each in keys)

    def test_all_their_values_are_set_and_no_others(self, checkout):
        for name in PROFILES:
            before = flatten(read_plain(checkout.params))
            profile = flatten(read_plain(checkout.profiles / f"{name}.yaml"))

            apply_profile(checkout, name)

            assert flatten(read_plain(checkout.params)) == before | profile
            assert load_params(checkout.params).data.name == name

    def test_comments_are_kept(self, checkout, shipped):
        def comments(text):
            return [line.partition("#")[2] for line in text.splitlines() if "#" in line]

        for name in PROFILES:
            apply_profile(checkout, name)

            assert comments(checkout.params.read_text()) == comments(shipped.decode())

    def test_digits_after_others_restores_the_file_of_the_repository(self, checkout, shipped):
        for name in ("mnist", "fashion-mnist", "digits"):
            apply_profile(checkout, name)

        assert checkout.params.read_bytes() == shipped

    def test_a_profile_gives_the_same_parameters_after_another_one(self, checkout, shipped):
        for others in (["fashion-mnist"], ["digits", "fashion-mnist"]):
            checkout.params.write_bytes(shipped)
            apply_profile(checkout, "mnist")
            alone = load_params(checkout.params)
            for name in (*others, "mnist"):
                apply_profile(checkout, name)

            assert load_params(checkout.params) == alone

    def test_interpolations_are_between_classes_of_the_dataset(self, checkout):
        for name in ("fashion-mnist", "mnist"):
            apply_profile(checkout, name)

            walks = load_params(checkout.params).evaluate.walks
            assert {each for pair in walks for each in pair} <= set(KNOWN[name].classes)
            assert len(walks) == 2

    def test_each_starts_from_the_profile_of_its_dataset(self, checkout, shipped):
        for name, dataset in ((CLASSIFIER, "fashion-mnist"), ("report-r4", "mnist")):
            checkout.params.write_bytes(shipped)
            apply_profile(checkout, dataset)
            apply_profile(checkout, name)
            expected = load_params(checkout.params)
            checkout.params.write_bytes(shipped)
            apply_profile(checkout, name)

            assert load_params(checkout.params) == expected
            values = flatten(read_plain(checkout.params))
            profile = flatten(read_plain(checkout.profiles / f"{name}.yaml"))
            assert {path: values[path] for path in profile} == profile

    def test_none_leaves_traces_in_the_next(self, checkout):
        """A profile of a dataset sets every value that other profiles of the dataset set."""
        profiles = {
            path.stem: flatten(read_plain(path)) for path in checkout.profiles.glob("*.yaml")
        }

        for name in (CLASSIFIER, *REPORTS):
            base = profiles[profiles[name]["data.name"]]
            replaced = {path.rpartition(".")[0] for path in base}
            for path in profiles[name]:
                parts = path.split(".")
                at_or_above = {".".join(parts[: end + 1]) for end in range(len(parts))}
                set_by_base = path in replaced or at_or_above & set(base)
                assert set_by_base or set(parts) & set(REPLACED), (name, path)

    def test_the_classifier_searches_nothing(self, checkout):
        apply_profile(checkout, CLASSIFIER)

        params = load_params(checkout.params)
        assert not params.searched
        assert Architecture.of(params.train.model, INFO).flat == 128 * 3 * 3


class TestMerging:
    def test_changes_are_described(self, checkout):
        changes = apply_profile(checkout, "mnist")

        assert "data.name: digits -> mnist" in changes
        assert "optimization.batch_size: 32 -> 64" in changes
        assert any(re.fullmatch(r"search\.space: \d ranges -> \d ranges", c) for c in changes)

    def test_a_change_is_described_once_from_the_first_to_the_last_value(self, checkout):
        changes = apply_profile(checkout, "report-r3")

        assert [each for each in changes if each.startswith("finetune.search")] == [
            "finetune.search: null -> 6 values"
        ]
        assert [each for each in changes if each.startswith("train.model.channels")] == [
            "train.model.channels: search -> [8, 16, 32]"
        ]
        assert [each for each in changes if each.startswith("train.batch_size")] == [
            "train.batch_size: 32 -> 300"
        ]

    def test_the_profile_in_use_changes_nothing(self, checkout, shipped):
        assert apply_profile(checkout, "digits") == []
        assert checkout.params.read_bytes() == shipped

    def test_a_null_replaces_an_inherited_value(self, checkout):
        text = checkout.params.read_text()
        checkout.params.write_text(text.replace("  patience: null ", "  patience: 7 ", 1))
        (checkout.profiles / "mine.yaml").write_text("vae: {patience: null}\n")

        assert apply_profile(checkout, "mine") == ["vae.patience: unset -> null"]
        assert load_params(checkout.params).vae.patience is None
        assert load_params(checkout.params).reference.patience == 7

    def test_other_edits_are_kept(self, checkout):
        text = checkout.params.read_text()
        checkout.params.write_text(text.replace("  seed: 0 ", "  seed: 7 # mine\n  #"))

        apply_profile(checkout, "mnist")

        assert load_params(checkout.params).runtime.seed == 7
        assert "seed: 7 # mine" in checkout.params.read_text()

    def test_entries_that_the_user_removed_are_not_added_again(self, checkout):
        yaml = YAML()
        document = yaml.load(checkout.params)
        del document["compare"]["optimizer"], document["denoise"]["unet"]
        yaml.dump(document, checkout.params)

        apply_profile(checkout, "fashion-mnist")

        params = load_params(checkout.params)
        assert "optimizer" not in params.compare
        assert "unet" not in params.denoise
        assert params.data.name == "fashion-mnist"

    def test_objectives_are_replaced_as_a_whole(self, checkout):
        (checkout.profiles / "mine.yaml").write_text(
            "search: {pruner: none, objectives: {parameters: minimize}}\n"
        )

        apply_profile(checkout, "mine")

        assert load_params(checkout.params).search.objectives == {"parameters": "minimize"}


class TestErrors:
    """An error leaves params.yaml unchanged."""

    def test_an_unknown_profile(self, error, message):
        message("profile/unknown", error("mnits"))
        message("profile/unknown, unlike any other", error("zzz"))

    def test_an_invalid_profile_is_reported_with_its_own_lines(self, error, message):
        cases = {
            "value": "train: {epochs: 0}\n",
            "unknown key": "\ntrain:\n  epohcs: 3\n",
            "old key": "search:\n  first_rung: 3\n",
            "section": "train: 5\n",
            "no range": "search:\n  space: {}\n",
            "optimization": "optimization:\n  batch_size: 0\n",
            "not YAML": "train: {epochs: 3\n",
            "not a mapping": "- train\n",
        }
        for name, text in cases.items():
            message(f"profile/invalid: {name}", error("mine", text))

    def test_an_error_in_params_yaml_is_not_attributed_to_the_profile(self, checkout, error):
        with checkout.params.open("a") as file:
            file.write("misplaced: 1\n")
        line = len(checkout.params.read_text().splitlines())

        assert f"{checkout.params}:{line}: misplaced is not a known key" in error("mnist")


class Report:
    """The parameters after the profile of a report, and samples of its search space."""

    def __init__(self, repository, root, name):
        shutil.copy(repository / "params.yaml", root)
        shutil.copytree(repository / "profiles", root / "profiles")
        self.project = Project(root, root)
        self.profile = flatten(read_plain(self.project.profiles / f"{name}.yaml"))
        self.changes = apply_profile(self.project, name)
        self.params = load_params(self.project.params)

    def sample(self, space, candidate):
        """Yield the sampled ranges, the values, and the candidate or the error of each trial."""
        for seed in range(SAMPLES):
            trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
            values = suggest_values(trial, space)
            try:
                result = candidate(values)
            except ValueError as impossible:
                result = str(impossible)
            yield trial.params, values, result

    @cached_property
    def candidates(self):
        candidate = partial(search.candidate, self.params, INFO)
        return list(self.sample(self.params.search.space, candidate))


@pytest.fixture(scope="module")
def report(repository, tmp_path_factory):
    """Return a function that applies the profile of a report, once for all tests."""
    reports = {}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def get(name):
        if name not in reports:
            reports[name] = Report(repository, tmp_path_factory.mktemp(name), name)
        return reports[name]

    yield get
    optuna.logging.set_verbosity(before)


class TestReports:
    """The searches of the course reports."""

    def test_all_their_values_are_set(self, report):
        for name in REPORTS:
            values = flatten(read_plain(report(name).project.params))

            assert report(name).changes
            assert {path: values[path] for path in report(name).profile} == report(name).profile

    def test_train_uses_every_searched_parameter(self, report):
        for name in REPORTS:
            params = report(name).params

            assert set(params.searched) == {path for path in params.search.space if "." in path}

    def test_all_networks_except_those_of_r2_can_be_built(self, report):
        for name in ("report-r0", "report-r1", "report-r3", "report-r4"):
            for _, values, candidate in report(name).candidates:
                assert not isinstance(candidate, str), (values, candidate)
                assert Architecture.of(candidate.settings.model, INFO).flat > 0
                assert candidate.settings.epochs == report(name).params.search.epochs
                assert "search" not in flatten(candidate.settings.tree()).values()

    def test_networks_of_r0_have_three_convolutions(self, report):
        for _, values, _ in report("report-r0").candidates:
            narrow, middle, wide = values["train.model.channels"]
            assert 8 <= narrow <= 10
            assert 15 <= middle <= 20
            assert 25 <= wide <= 35

    def test_networks_of_r1_have_as_many_convolutions_as_the_switch(self, report):
        depths = set()
        for sampled, values, _ in report("report-r1").candidates:
            channels = values["train.model.channels"]
            depths.add(len(channels))
            assert len(channels) == sampled["convolutions"]
            assert channels[0] % 4 == 0
            assert channels[0] <= (16 if len(channels) == 3 else 20)

        assert depths == {3, 4}

    def test_networks_of_r2_can_be_built_or_name_the_layer_at_which_the_image_vanishes(
        self, report
    ):
        built = 0
        for _, values, candidate in report("report-r2").candidates:
            if isinstance(candidate, str):
                layers = len(values["train.model.channels"])
                error = rf"the image vanishes at convolution [1-{layers}] of {layers}: .*"
                assert re.fullmatch(error, candidate), values
            else:
                built += 1
                assert Architecture.of(candidate.settings.model, INFO).flat > 0
                assert candidate.settings.patience == values["train.patience"]

        assert SAMPLES / 2 < built < SAMPLES

    def test_networks_of_r2_have_a_kernel_stride_and_padding_for_each_convolution(self, report):
        depths, widths = set(), set()
        for sampled, values, _ in report("report-r2").candidates:
            model = {name.removeprefix("train.model."): value for name, value in values.items()}
            depth = sampled["convolutions"]
            depths.add(depth)
            widths.add(len(model["hidden"]))
            for name in ("channels", "kernel", "stride", "padding"):
                assert len(model[name]) == depth, (name, values)
            for kernel, padding in zip(model["kernel"], model["padding"], strict=True):
                assert padding <= kernel / 2
            assert len(model["hidden"]) == sampled["linear"] - 1

        assert depths == {2, 3, 4}
        assert widths == {0, 1, 2}

    def test_heads_of_r3_are_one_layer_on_a_frozen_encoder(self, report, tmp_path):
        params = report("report-r3").params
        study = params.finetune.search
        make = partial(finetune.candidate, params, tmp_path, INFO)

        heads = set()
        for _, values, candidate in report("report-r3").sample(study.space, make):
            assert not isinstance(candidate, str), (values, candidate)
            (width,) = candidate.settings.head
            assert 16 <= width <= 128
            assert candidate.settings.freeze_encoder
            assert candidate.settings.epochs == study.epochs
            heads.add(width)

        assert len(heads) > 50
