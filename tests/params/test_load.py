"""Loading params.yaml: every error is reported with its line and with what is allowed."""

from pathlib import Path

import pytest

from latentlab.common.errors import ParamsError
from latentlab.params.denoising import AutoencoderNetworkParams
from latentlab.params.fields import SEARCH, flatten
from latentlab.params.load import load_params, validate_params
from latentlab.params.messages import sections as sections_of
from latentlab.params.networks import OptimizationSettings
from latentlab.params.renamed import RENAMED, new_path
from latentlab.params.resolve import resolve, with_values
from latentlab.params.schema import INHERITING, Params, TrainParams
from latentlab.params.studies import StudyParams

VAE_BATCH_NORM = {"vae.model": {"batch_norm": True}, "vae.batch_size": ...}


def test_the_file_of_the_repository_is_valid(repository):
    assert load_params(repository / "params.yaml").data.name == "digits"


def test_an_error_has_the_file_the_line_and_exit_code_2(repository, tmp_path, message):
    text = (repository / "params.yaml").read_text()
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "image_size: 28" in row)
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("image_size: 28", "image_size: 30"))

    with pytest.raises(ParamsError) as caught:
        load_params(path)

    assert caught.value.exit_code == 2
    assert f"{path}:{line}: data.image_size" in str(caught.value)
    message("params/one error", str(caught.value).replace(f":{line}:", ":<line>:"))


class TestValues:
    """Values that are wrong by themselves."""

    def test_a_value_of_another_type_or_outside_its_range(self, errors, message):
        cases = {
            "multiple of": {"data.image_size": 30},
            "minimum": {"data.image_size": 4},
            "above 0": {"gan.noise_dim": 0},
            "text for an integer": {"search.trials": "eight"},
            "fraction for an integer": {"search.trials": 8.5},
            "not a number": {"vae.beta": float("nan")},
            "text for a number": {"vae.beta": "much"},
            "text for a flag": {"finetune.freeze_encoder": "maybe"},
            "number for a list": {"finetune.head": 64},
            "element of a list": {"finetune.head": [64, -1]},
            "empty list": {"vae.model.channels": []},
            "null for text": {"data.name": None},
            "number for text": {"data.name": 2024},
            "path for a name": {"data.name": "../elsewhere"},
            "one of two types": {"runtime.threads": "many"},
            "null for a section": {"evaluate": None},
            "empty list of corruptions": {"denoise.gaussian.corruption": []},
            "unknown corruption": {
                "denoise.gaussian.corruption": [{"name": "fog", "severity": 0.5}]
            },
            "labels": {"finetune.label_efficiency.labels_per_class": [4, "many"]},
            "unknown denoiser": {"denoise.unet.network.type": "transformer"},
            "denoiser without a type": {"denoise.unet.network.type": ...},
        }
        for name, changes in cases.items():
            message(f"params/value: {name}", errors(changes))

    def test_datasets_of_torchvision(self, errors, message):
        cases = {
            "unknown class": {"data.name": "torchvision/CIFAR11"},
            "another task": {"data.name": "torchvision/CocoDetection"},
            "built-in dataset": {"data.name": "torchvision/FashionMNIST"},
            "two slashes": {"data.name": "torchvision/datasets/SVHN"},
            "missing option": {"data.name": "torchvision/EMNIST"},
            "unknown option": {
                "data.name": "torchvision/EMNIST",
                "data.options": {"split": "letters", "spilt": "digits"},
            },
            "value of an option": {
                "data.name": "torchvision/EMNIST",
                "data.options": {"split": "letter"},
            },
            "number of an option": {
                "data.name": "torchvision/DTD",
                "data.options": {"partition": 11},
            },
            "dataset without options": {
                "data.name": "torchvision/SVHN",
                "data.options": {"split": "extra"},
            },
            "options of another dataset": {"data.options": {"split": "letters"}},
        }
        for name, changes in cases.items():
            message(f"params/torchvision: {name}", errors(changes))

    def test_values_are_not_converted_to_the_right_type(self, errors):
        """`true` is not 1, and a quoted number is not a number."""
        for path, value in {
            "gan.epochs": True,
            "data.channels": True,
            "runtime.threads": True,
            "vae.beta": True,
            "search.trials": "8",
            "train.learning_rate": "0.1",
            "vae.model.hidden": "64",
            "vae.model.channels": [8, "10"],
            "data.validation_fraction": 1.0,
            "data.test_fraction": 0.0,
        }.items():
            assert errors({path: value}).startswith(path)

    def test_a_word_close_to_an_allowed_one_is_suggested(self, errors, message):
        message("params/close word", errors({"train.schedule": "onecycle"}))
        message("params/quoted number", errors({"data.channels": "3"}))

    def test_the_word_search_is_suggested_only_where_it_is_allowed(self, errors):
        assert "did you mean 'search'?" in errors({"train.optimizer": "serach"})
        assert "did you mean" not in errors({"train.epochs": "serach"})
        assert "did you mean" not in errors({"vae.model.hidden": "serach"})

    def test_integers_are_accepted_for_numbers(self, loaded):
        assert loaded({"vae.beta": 2}).vae.beta == 2.0

    def test_fractions_of_validation_and_test_may_exceed_one_together(self, loaded):
        params = loaded({"data.validation_fraction": 0.6, "data.test_fraction": 0.6})

        assert params.data.test_fraction == 0.6

    def test_a_severity_is_a_number_or_a_range(self, params):
        ends = {name: each.corruption[0].ends for name, each in params.denoise.items()}

        assert ends["gaussian"] == (0.3, 0.3)
        assert ends["unet"] == (0.05, 0.55)


class TestKeys:
    """Keys that are unknown, missing or renamed."""

    def test_an_unknown_key(self, errors, message):
        message("params/unknown key", errors({"gan.epohcs": 4}))
        message("params/unknown key unlike any other", errors({"runtime.zzz": 4}))
        message("params/unknown section", errors({"finetun": 4}))

    def test_a_missing_key(self, errors, message):
        message("params/missing value", errors({"gan.epochs": ...}))
        message("params/missing section", errors({"runtime": ...}))
        message("params/missing section of named entries", errors({"denoise": ...}))

    def test_keys_with_a_default_may_be_missing(self, loaded, params):
        """A params.yaml stays valid when a new version has more keys."""
        optional = [
            f"train.{name}"
            for name, field in TrainParams.model_fields.items()
            if not field.is_required()
        ]

        assert len(optional) > 10
        assert loaded(dict.fromkeys(optional, ...)).train.model == TrainParams(epochs=1).model

    def test_an_old_key_is_reported_with_its_new_name(self, errors):
        for old, new in RENAMED.items():
            path = old.replace("corruption.*", "corruption.0")
            path = path.replace("compare.*", "compare.depth").replace("denoise.*", "denoise.unet")
            parent = path.rpartition(".")[0]
            changes = {path: {}}
            if parent == "finetune.search":
                changes = {parent: {"trials": 1, "epochs": 1, "space": {}, "max_train_images": 1}}
                changes |= {path: 1}
            if parent.endswith("corruption.0"):
                changes = {"denoise.unet.corruption": [{"kind": "blur", "severity": 1.0}]}
            elif new in ("network", "max_train_images"):
                changes[f"{parent}.{new}"] = ...  # the new key is not also reported as missing

            (line,) = errors(changes).splitlines()

            assert line.startswith(f"{path} was renamed to {new_path(path)}")

    def test_hints_for_old_keys_whose_value_changed(self, errors, message):
        message("params/renamed: denoise model", errors({"denoise.gaussian.model": {}}))
        message("params/renamed: denoise skip", errors({"denoise.unet.skip": {}}))
        message("params/renamed: finetune labels", errors({"finetune.labels": {}}))

    def test_an_old_path_in_a_comparison_or_a_space(self, errors, message):
        message("params/renamed: compared", errors({"compare.depth.base": {"train.warmup": 0.1}}))
        message(
            "params/renamed: searched",
            errors({"search.space.train.warmup": {"type": "float", "low": 0.0, "high": 0.5}}),
        )


class TestOptimization:
    """Sections inherit the keys of `optimization` that they do not contain."""

    def test_inherited_and_own_values(self, loaded):
        params = loaded(
            {
                "optimization.momentum": 0.5,
                "vae.momentum": 0.7,
                "finetune.momentum": 0.6,
                "train.momentum": ...,
            }
        )

        assert params.train.momentum == 0.5
        assert params.reference.momentum == 0.5
        assert [each.momentum for each in params.denoise.values()] == [0.5, 0.5, 0.5]
        assert (params.vae.momentum, params.finetune.momentum) == (0.7, 0.6)

    def test_an_own_null_is_not_replaced(self, loaded):
        params = loaded({"optimization.patience": 3, "vae.patience": None})

        assert params.vae.patience is None
        assert params.reference.patience == 3

    def test_without_the_section_the_defaults_apply(self, loaded):
        params = loaded({"optimization": ...})

        assert params.vae.optimizer == OptimizationSettings().optimizer
        assert params.vae.schedule == "constant"  # that of the section itself

    def test_complete_sections_do_not_change_when_loaded_again(self, params):
        assert Params.model_validate(params.tree()) == params
        for name in INHERITING:
            assert set(OptimizationSettings.model_fields) <= set(params.tree()[name])

    def test_an_error_in_optimization_is_reported_once(self, errors, message):
        message(
            "params/optimization: invalid values",
            errors({"optimization.batch_size": 0, "optimization.prune_epochs": [0]}),
        )
        message("params/optimization: unknown key", errors({"optimization.momentun": 0.5}))
        message("params/optimization: not a section", errors({"optimization": 3}))

    def test_an_error_because_of_an_inherited_value_says_so(self, errors, message):
        message(
            "params/optimization: inherited value does not fit",
            errors({"optimization.batch_size": 1} | VAE_BATCH_NORM),
        )
        message(
            "params/optimization: inherited value does not fit a budget",
            errors({"optimization.prune_epochs": [5], "optimization.prune_fraction": 0.5}),
        )

    def test_the_word_search_is_not_allowed(self, errors, message):
        message("params/optimization: search", errors({"optimization.learning_rate": SEARCH}))


class TestCombinations:
    """Values that are valid by themselves but not together."""

    def test_values_that_do_not_fit_each_other(self, errors, params, message):
        low_high = [{"name": "gaussian", "severity": [0.5, 0.1]}]
        too_much = [{"name": "occlusion", "severity": 1.5}]
        cases = {
            "batch norm of single images": {
                "train.model.batch_norm": True,
                "train.batch_size": 1,
            },
            "batch norm of a denoiser": {
                "denoise.gaussian.network.batch_norm": True,
                "denoise.gaussian.batch_size": 1,
            },
            "nesterov": {"vae.optimizer": "sgd", "vae.nesterov": True, "vae.momentum": 0.0},
            "prune_fraction": {"vae.prune_fraction": 0.1},
            "scale": {"vae.likelihood": "squared_error", "vae.scale": 0.1},
            "bernoulli": {"vae.likelihood": "bernoulli", "vae.model.output": "linear"},
            "wasserstein": {"gan.loss": "wasserstein"},
            "label smoothing": {"gan.loss": "hinge", "gan.label_smoothing": 0.1},
            "unfreeze_after": {"finetune.unfreeze_after": 2},
            "severity range": {"denoise.gaussian.corruption": low_high},
            "severity fraction": {"denoise.occlusion.corruption": too_much},
            "severities": {"evaluate.severities.occlusion": [0.5, 2]},
            "reserved name": {"denoise.wiener": params.tree()["denoise"]["unet"]},
        }
        for name, changes in cases.items():
            message(f"params/combination: {name}", errors(changes))

    def test_networks_that_cannot_be_built(self, errors, message):
        cases = {
            "image vanishes": {"vae.model.channels": [4, 4, 4, 4, 4]},
            "image vanishes in a denoiser": {"denoise.gaussian.network.channels": [4] * 5},
            "too many scales": {"denoise.unet.network.channels": [4, 4, 4]},
            "length of a list": {"vae.model.kernel": [2, 2]},
        }
        for name, changes in cases.items():
            message(f"params/network: {name}", errors(changes))

    def test_pruning_after_the_last_epoch_of_a_budget(self, errors, params, message):
        study = {name: params.search.tree()[name] for name in StudyParams.model_fields}
        study |= {"epochs": 3, "space": {}, "objectives": {"validation/loss": "minimize"}}

        found = errors(
            {
                "finetune.prune_fraction": 0.5,
                "finetune.prune_epochs": [5],
                "finetune.epochs": 6,
                "finetune.search": study,
            }
        )

        message("params/combination: pruning after the budget", found)

    def test_the_word_search_in_another_section(self, errors, message):
        message("params/search: in vae", errors({"vae.optimizer": SEARCH}))
        message("params/search: in denoise", errors({"denoise.gaussian.learning_rate": SEARCH}))


class TestComparisons:
    def test_invalid_comparisons(self, errors, message):
        twice = {"train.batch_size": 1, "train.model.batch_norm": True}
        cases = {
            "unknown parameter": {"compare.optimizer.parameter": "train.optimiser"},
            "epochs": {"compare.optimizer.parameter": "train.epochs"},
            "another section": {"compare.optimizer.parameter": "vae.beta"},
            "unknown parameter in base": {"compare.optimizer.base": {"train.batchsize": 8}},
            "unknown value": {"compare.optimizer.values": ["adam", "adamv"]},
            "value outside its range": {"compare.latent_dim.values": [8, 0]},
            "value of another type": {"compare.latent_dim.values": [8, True]},
            "the word search": {"compare.latent_dim.values": [8, "search"]},
            "unknown parameter of a variant": {
                "compare.regularization.values": {"none": {"train.dropout": 0.1}}
            },
            "name of a variant": {"compare.regularization.values": {"l1+l2": {"train.l1": 0.1}}},
            "values that do not fit": {"compare.optimizer.base": twice},
            "no variants": {"compare.regularization.values": {}},
            "no values": {"compare.latent_dim.values": []},
            "equal values": {"compare.latent_dim.values": [8, 8]},
            "network": {"compare.depth.values": [[8], [4, 4, 4, 4, 4]]},
            "list without a parameter": {"compare.latent_dim.parameter": ...},
            "names with a parameter": {"compare.regularization.parameter": "train.l1"},
            "name of an entry": {"compare.a/b": {"values": {"x": {}}, "epochs": 1}},
        }
        for name, changes in cases.items():
            message(f"params/comparison: {name}", errors(changes))

    def test_there_may_be_none(self, loaded):
        assert loaded({"compare": {}}).compare == {}

    def test_variants_are_named_by_their_values_and_include_the_base(self, params):
        depth, optimizer = params.compare["depth"], params.compare["optimizer"]

        assert depth.base["train.batch_size"] == 32
        assert depth.variants == {
            "8-16-32": depth.base | {"train.model.channels": [8, 16, 32]},
            "8-16-32-64": depth.base | {"train.model.channels": [8, 16, 32, 64]},
        }
        assert list(optimizer.variants) == optimizer.values
        assert "early stopping" in params.compare["regularization"].variants

    def test_values_of_a_variant_override_the_base(self, loaded):
        base = {"train.model.latent_dim": 3, "train.l1": 0.5}

        comparison = loaded({"compare.latent_dim.base": base}).compare["latent_dim"]

        assert comparison.variants["8"] == {"train.model.latent_dim": 8, "train.l1": 0.5}

    def test_only_comparisons_of_numbers_are_numeric(self, params):
        assert params.compare["latent_dim"].numeric
        assert not params.compare["optimizer"].numeric


class TestSeveralErrors:
    def test_all_are_reported_at_once_in_the_order_of_the_file(self, errors):
        found = errors(
            {
                "gan.epoch": 3,
                "vae.likelihood": "gausian",
                "vae.model.hidden": SEARCH,
                "search.space.train.model.hidden": {"type": "int", "low": 0, "high": 9},
                "runtime.seed": -1,
            }
        )

        assert [line.split()[0] for line in found.splitlines()] == [
            "runtime.seed",
            "search.space.train.model.hidden",
            "vae.model.hidden",
            "vae.likelihood",
            "gan.epoch",
        ]

    def test_so_are_all_combinations_that_do_not_fit(self, errors):
        variants = {"pruning": {"train.prune_fraction": 0.3, "train.prune_epochs": [99]}}

        found = errors(
            {
                "compare.regularization.values": variants,
                "finetune.prune_fraction": 0.3,
                "finetune.prune_epochs": [15],
                "vae.model.kernel": [3, 3],
            }
        )

        assert [line.split()[0].rstrip(":") for line in found.splitlines()] == [
            "compare.regularization.values.pruning",
            "finetune.label_efficiency.epochs",
            "vae.model.channels",
        ]

    def test_errors_of_a_merged_document_have_the_lines_of_the_profile(self, edited, tmp_path):
        document, profile = edited({"vae.beta": -1}), edited({"vae.beta": -1})

        with pytest.raises(ParamsError, match=r"mine\.yaml:\d+: vae\.beta = -1"):
            validate_params(document, profile, Path("mine.yaml"))


class TestResolving:
    """The word `search` and other values replaced in a copy."""

    @pytest.fixture
    def best(self, params):
        return {path: each.examples[-1] for path, each in params.search.space.items()}

    def test_searched_parameters_are_those_with_the_word(self, params):
        words = {path for path, value in flatten(params.tree()).items() if value == SEARCH}

        assert set(params.searched) == words

    def test_the_best_values_replace_the_word_and_nothing_else(self, params, best):
        before, after = flatten(params.tree()), flatten(resolve(params, best).tree())

        assert {path: after[path] for path in params.searched} == best
        assert SEARCH not in after.values()
        assert {path for path in before if before[path] != after[path]} == set(params.searched)

    def test_a_written_value_is_not_replaced(self, params, best):
        fixed = with_values(params, {"train.optimizer": "sgd"})

        assert resolve(fixed, best | {"train.optimizer": "adam"}).train.optimizer == "sgd"

    def test_values_are_changed_in_a_copy(self, params):
        changed = with_values(params, {"vae.beta": 7.0, "vae.model.channels": [2, 3]})

        assert (changed.vae.beta, changed.vae.model.channels) == (7.0, (2, 3))
        assert with_values(changed, {"vae": params.vae.tree()}) == params != changed

    def test_values_are_validated(self, params, message):
        cases = {
            "unknown": {"train.optimizer": "adamv"},
            "do not fit": {"train.batch_size": 1, "train.model.batch_norm": True},
        }
        for name, values in cases.items():
            with pytest.raises(ValueError, match=r"^train\.") as caught:
                with_values(params, values)
            message(f"params/other values: {name}", caught.value)


def test_every_parameter_has_a_description():
    sections, described = [Params], set()
    while sections:
        section = sections.pop()
        if section in described:
            continue
        described.add(section)
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            sections += sections_of(field.annotation)

    assert AutoencoderNetworkParams in described
