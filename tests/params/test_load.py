import re

import pytest
from ruamel.yaml import YAML

from latentlab.common.errors import ParamsError
from latentlab.params.fields import SEARCH, flatten
from latentlab.params.load import load_params
from latentlab.params.networks import ConvolutionParams
from latentlab.params.resolve import resolve, with_values
from latentlab.params.schema import TrainParams
from latentlab.params.studies import StudyParams
from latentlab.params.yaml_io import read_yaml

DELETED = object()
HIDDEN = "search.space.train.model.hidden"


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
        line = lines[int(number) - 1].lstrip()
        assert number == "1" or line.startswith("- ") or any(name in line for name in names)
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

    @pytest.mark.parametrize(
        ("path", "value", "told"),
        [
            ("gan.epochs", True, " = true: must be an integer"),
            ("data.image_size", True, " = true: must be an integer"),
            ("runtime.threads", True, " = true: must be an integer or must be 'auto'"),
            ("vae.beta", True, " = true: must be a number"),
            ("search.trials", "8", " = '8': must be an integer"),
            ("search.trials", 8.0, " = 8.0: must be an integer"),
            ("vae.learning_rate", "0.1", " = '0.1': must be a number"),
            ("vae.model.hidden", "64", " = '64': must be an integer or must be a list"),
            ("vae.model.channels", [8, "10"], ".1 = '10': must be an integer"),
            ("train.learning_rate", "0.1", " = '0.1': must be a number"),
        ],
    )
    def test_a_value_that_only_looks_like_the_right_one(self, refusal, path, value, told):
        message = refusal({path: value})

        assert message.startswith(f"1 mistake, nothing was done:\n  params.yaml: {path}{told}")

    def test_a_wrong_word_is_told_with_all_words_and_the_nearest(self, refusal):
        assert (
            "train.schedule = 'onecycle': must be 'one_cycle', 'cosine', 'step' or 'constant'; "
            "did you mean 'one_cycle'?"
        ) in refusal({"train.schedule": "onecycle"})

    def test_a_number_in_quotes_is_told_to_lose_them(self, refusal):
        message = refusal({"data.channels": "3"})
        assert "data.channels = '3': must be 'auto', 1 or 3; write it without quotes" in message

    def test_a_flag_where_a_number_belongs(self, refusal):
        message = refusal({"data.channels": True})
        assert "data.channels = 'true': must be 'auto', 1 or 3" in message

    def test_batch_norm_of_single_images(self, refusal):
        message = refusal({"train.model.batch_norm": True, "train.batch_size": 1})
        assert "train: model.batch_norm needs a batch_size of at least 2" in message

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

    @pytest.mark.parametrize("section", ["denoise", "compare"])
    def test_a_missing_section_of_free_names_has_none_to_tell(self, refusal, section):
        message = refusal({section: DELETED})
        assert f"{section} is missing; it must be a mapping of names that you choose" in message

    @pytest.mark.parametrize("name", ["kernel", "stride", "padding"])
    def test_a_list_that_is_not_as_long_as_the_channels(self, refusal, name):
        message = refusal({f"vae.model.{name}": [2, 2]})
        assert f"vae.model.channels: {name} has 2 values for 3 convolutions" in message

    def test_an_encoder_that_leaves_nothing_of_the_image(self, refusal):
        message = refusal({"vae.model.channels": [4, 4, 4, 4, 4]})
        assert "vae.model.channels: the image vanishes at convolution 5 of 5" in message


class TestVae:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"vae.likelihood": "squared_error", "vae.scale": 0.1},
                "vae: scale belongs to the likelihood gaussian, not to squared_error",
            ),
            (
                {"vae.likelihood": "bernoulli", "vae.model.output": "linear"},
                "vae: the likelihood bernoulli needs model.output: sigmoid",
            ),
        ],
    )
    def test_likelihoods_that_cannot_be(self, refusal, changes, told):
        assert f"  params.yaml: {told}" in refusal(changes)


class TestComparisons:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"compare.optimizer.parameter": "train.optimiser"},
                "compare.optimizer.parameter = 'train.optimiser' is not a parameter to compare; "
                "did you mean 'train.optimizer'?",
            ),
            (
                {"compare.optimizer.base": {"train.batchsize": 8}},
                "compare.optimizer.base.train.batchsize: 'train.batchsize' is not a parameter to "
                "compare; did you mean 'train.batch_size'?",
            ),
            (
                {"compare.optimizer.values": ["adam", "adamv"]},
                "compare.optimizer.values.adamv: train.optimizer = 'adamv' must be 'adam', ",
            ),
            (
                {"compare.latent_dim.values": [8, 0]},
                "compare.latent_dim.values.0: train.model.latent_dim = 0 must be greater than",
            ),
            (
                {"compare.latent_dim.values": [8, True]},
                "compare.latent_dim.values.True: train.model.latent_dim = True must be an integer",
            ),
            (
                {"compare.latent_dim.values": [8, "search"]},
                "compare.latent_dim.values.search: 'search' is no value to compare; write one",
            ),
            (
                {"compare.regularization.values": {"none": {"train.dropout": 0.1}}},
                "compare.regularization.values.none: 'train.dropout' is not a parameter to "
                "compare; did you mean 'train.model.dropout'?",
            ),
            (
                {"compare.regularization.values": {"l1+l2": {"train.l1": 0.1}}},
                "compare.regularization: the name 'l1+l2' may have letters, digits",
            ),
            (
                {"compare.optimizer.base": {"train.batch_size": 1, "train.model.batch_norm": True}},
                "compare.optimizer.values.adam: train.model.batch_norm needs a batch_size of at "
                "least 2",
            ),
            (
                {"compare.regularization.values": {}},
                "compare.regularization.values: must be a list or must not be empty",
            ),
            (
                {"compare.depth.values": [[8], [4, 4, 4, 4, 4]]},
                "compare.depth.values.4-4-4-4-4: the image vanishes at convolution 5 of 5: ",
            ),
        ],
    )
    def test_what_cannot_be_compared(self, refusal, changes, told):
        assert f"  params.yaml: {told}" in refusal(changes)

    @pytest.mark.parametrize("parameter", ["train.epochs", "train.folds", "vae.beta", "data.name"])
    def test_a_comparison_of_what_is_none_of_its_business(self, refusal, parameter):
        changes = {"compare.latent_dim.parameter": parameter, "compare.latent_dim.values": [5]}
        message = refusal(changes)
        assert f"compare.latent_dim.parameter = '{parameter}' is not a parameter to" in message

    def test_a_wrong_parameter_is_told_once(self, refusal):
        changes = {"compare.optimizer.parameter": "train.optimiser"}
        assert refusal(changes).count("is not a parameter to compare") == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"compare.latent_dim.parameter": DELETED},
            {"compare.regularization.parameter": "train.l1"},
        ],
    )
    def test_a_list_goes_with_a_parameter_and_a_mapping_without(self, refusal, changes):
        message = refusal(changes)
        assert ": a list of values goes with a parameter, a mapping of names to values" in message

    def test_a_name_that_is_no_name_of_a_folder(self, refusal, params):
        assert "must match ^[A-Za-z0-9]" in refusal(
            {"compare.a/b": params.tree()["compare"]["depth"]}
        )

    def test_no_value_at_all(self, refusal):
        assert "compare.latent_dim.values" in refusal({"compare.latent_dim.values": []})

    def test_there_may_be_none(self, edit):
        assert load_params(edit({"compare": {}})).compare == {}

    def test_variants_are_named_after_their_values_and_set_the_base_too(self, params):
        base = params.compare["depth"].base

        assert base["train.batch_size"] == 32
        assert params.compare["depth"].variants == {
            "8-16-32": base | {"train.model.channels": [8, 16, 32]},
            "8-16-32-64": base | {"train.model.channels": [8, 16, 32, 64]},
        }
        assert list(params.compare["optimizer"].variants) == params.compare["optimizer"].values
        assert "early stopping" in params.compare["regularization"].variants

    def test_what_a_variant_sets_goes_before_the_base(self, edit):
        base = {"train.model.latent_dim": 3, "train.l1": 0.5}
        comparison = load_params(edit({"compare.latent_dim.base": base})).compare["latent_dim"]

        assert comparison.variants["8"] == {"train.model.latent_dim": 8, "train.l1": 0.5}

    def test_only_numbers_are_drawn_as_a_curve(self, params):
        numeric = {name for name, comparison in params.compare.items() if comparison.numeric}
        assert numeric == {"latent_dim"}


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


def test_all_that_values_do_wrong_together_is_told_at_once(refusal):
    variants = {"pruning": {"train.prune_fraction": 0.3, "train.prune_epochs": [99]}}
    message = refusal(
        {
            "compare.regularization.values": variants,
            "finetune.prune_fraction": 0.3,
            "finetune.prune_epochs": [15],
            "vae.model.kernel": [3, 3],
        }
    )

    first, *others = message.splitlines()
    assert first == "3 mistakes, nothing was done:"
    assert [line.split()[1].rstrip(":") for line in others] == [
        "compare.regularization.values.pruning",
        "finetune.label_efficiency.epochs",
        "vae.model.channels",
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

    def test_a_name_that_stands_twice_is_told_without_what_is_under_it(self, tmp_path):
        (tmp_path / "params.yaml").write_text("a: {b: 1}\na: {b: 2}\n")
        told = refuse(tmp_path / "params.yaml")
        assert told == 'params.yaml:2: not valid YAML: found duplicate key "a"'

    def test_a_missing_file(self, tmp_path):
        assert "params.yaml does not exist" in refuse(tmp_path / "params.yaml")

    def test_a_file_that_is_not_utf_8(self, tmp_path):
        (tmp_path / "params.yaml").write_bytes(b"name: \xff\xfe\n")
        assert "params.yaml is not UTF-8 text" in refuse(tmp_path / "params.yaml")

    def test_the_byte_order_mark_of_some_editors_is_no_mistake(self, repository, tmp_path):
        text = (repository / "params.yaml").read_text()
        (tmp_path / "params.yaml").write_text("\ufeff" + text, encoding="utf-8")

        assert load_params(tmp_path / "params.yaml").data.name == "digits"


class TestDefaults:
    """Keys that are younger than a params.yaml are not asked of it."""

    def test_the_shipped_file_writes_them_out(self, edit, params):
        fields = {"train.": TrainParams, "train.model.": ConvolutionParams}
        names = [
            f"{prefix}{name}"
            for prefix, section in fields.items()
            for name, field in section.model_fields.items()
            if not field.is_required()
        ]

        assert len(names) > 15
        assert load_params(edit(dict.fromkeys(names, DELETED))) == params

    def test_whole_numbers_are_real_numbers_too(self, edit):
        assert load_params(edit({"vae.beta": 2})).vae.beta == 2.0

    def test_the_shares_of_validation_and_test_may_exceed_one_together(self, edit):
        """One is of the training images, the other of all."""
        path = edit({"data.validation_fraction": 0.6, "data.test_fraction": 0.6})
        assert load_params(path).data.test_fraction == 0.6

    @pytest.mark.parametrize("name", ["validation_fraction", "test_fraction"])
    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_each_of_them_is_a_part(self, refusal, name, share):
        assert f"data.{name} = {share}: must be" in refusal({f"data.{name}": share})


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
        with pytest.raises(ValueError, match=r"^train\.optimizer: must be 'adam', 'adamw'"):
            with_values(params, {"train.optimizer": "adamv"})

    def test_what_does_not_go_together_is_told_with_its_section(self, params):
        with pytest.raises(ValueError, match=r"^train\.model\.batch_norm needs a batch_size"):
            with_values(params, {"train.batch_size": 1, "train.model.batch_norm": True})


class TestDenoisers:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"denoise.unet.network": {"type": "autoencoder", "channels": [4]}},
                "denoise.unet.network.hidden is missing",
            ),
            ({"denoise.unet.network": DELETED}, "denoise.unet.network is missing"),
            (
                {"denoise.unet.network.channels": [4, 4, 4]},
                "denoise.unet.network.channels: 3 scales halve the image 3 times, and 28 pixels are "
                "no multiple of 8; write fewer channels",
            ),
            (
                {"denoise.gaussian.network.channels": [4, 4, 4, 4, 4]},
                "denoise.gaussian.network.channels: the image vanishes at convolution 5 of 5",
            ),
            ({"denoise.gaussian.corruption": []}, "denoise.gaussian.corruption"),
            (
                {"denoise.gaussian.corruption": [{"name": "gaussian", "severity": [0.5, 0.1]}]},
                "severity must be a number, or a range from low to high",
            ),
            (
                {"denoise.occlusion.corruption": [{"name": "occlusion", "severity": 1.5}]},
                "the severity of occlusion is a share of the image, at most 1",
            ),
            (
                {"denoise.gaussian.corruption": [{"name": "fog", "severity": 0.5}]},
                "'gaussian', 'occlusion', 'salt_and_pepper' or 'blur'",
            ),
            ({"denoise.gaussian.learning_rate": "search"}, "only train takes what the study found"),
            ({"evaluate.severities.occlusion": [0.5, 2]}, "are shares of the image, at most 1"),
            ({"evaluate.severities.gaussian": []}, "evaluate.severities.gaussian"),
        ],
    )
    def test_a_mistake_is_told(self, refusal, changes, told):
        assert told in refusal(changes)

    def test_a_number_is_a_range_of_one(self, params):
        one, other = params.denoise["gaussian"].corruption[0], params.denoise["unet"].corruption[0]

        assert one.ends == (0.3, 0.3)
        assert other.ends == (0.05, 0.55)

    @pytest.mark.parametrize("name", ["autoencoder", "vae", "identity", "wiener"])
    def test_a_name_under_which_other_figures_stand_is_taken(self, refusal, params, name):
        entry = params.tree()["denoise"]["gaussian"]

        message = refusal({f"denoise.{name}": entry})
        assert f"denoise.{name} = '{name}': is taken" in message


class TestFinetuning:
    @pytest.mark.parametrize("budget", ["finetune.label_efficiency", "finetune.search"])
    def test_pruning_after_the_last_epoch_of_a_budget(self, refusal, params, budget):
        study = params.tree()["search"] | {"epochs": 3, "space": {}}
        study = {name: study[name] for name in StudyParams.model_fields}
        changes = {
            "finetune.prune_fraction": 0.5,
            "finetune.prune_epochs": [5],
            "finetune.epochs": 6,
            "finetune.search": study | {"objectives": {"validation/loss": "minimize"}},
        }

        message = refusal(changes)
        assert f"{budget}.epochs = 3: finetune.prune_epochs come after the last of 3" in message

    def test_only_what_is_frozen_thaws(self, refusal):
        message = refusal({"finetune.unfreeze_after": 2, "finetune.freeze_encoder": False})

        assert "unfreeze_after needs freeze_encoder: true" in message

    def test_budgets_are_numbers_or_all(self, refusal):
        assert "finetune.label_efficiency.labels_per_class" in refusal(
            {"finetune.label_efficiency.labels_per_class": [4, "many"]}
        )
