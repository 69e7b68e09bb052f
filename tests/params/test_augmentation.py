import pytest
from ruamel.yaml import YAML

from latentlab.common.errors import ParamsError
from latentlab.params.augmentation import augmentation_errors, augmentations
from latentlab.params.load import load_params

FLIP = {"RandomHorizontalFlip": {}}
TYPO = {"RandomCrop": {"paddin": 1}}
SEARCHED = {"type": "categorical", "choices": [[], [TYPO]]}


def test_names_are_checked_when_the_file_is_read(errors, message):
    cases = {
        "misspelled": [{"RandomHorizontalFlp": {}}],
        "unlike any name": [{"Sharpen": {}}],
        "container": [{"RandomApply": {}}],
        "mixing images": [{"MixUp": {"alpha": 1.0}}],
        "detection": [{"RandomIoUCrop": {}}],
        "several images": [{"FiveCrop": {"size": 20}}],
        "function": [{"Lambda": {}}],
        "not random": [{"Normalize": {}}],
        "without arguments": [{"RandomHorizontalFlip": None}],
        "only a name": ["RandomHorizontalFlip"],
        "two in one entry": [FLIP | {"RandomVerticalFlip": {}}],
        "not a list": FLIP,
    }
    for name, value in cases.items():
        message(f"params/augmentation: {name}", errors({"reference.augmentation": value}))


def test_arguments_are_checked_against_their_signature(loaded, message):
    cases = {
        "unknown argument": TYPO,
        "missing argument": {"RandomAffine": {}},
        "value": {"RandomHorizontalFlip": {"p": 2}},
        "value for torchvision": {"RandomErasing": {"scale": [0.5, 2.0]}},
        "warning of torchvision": {"RandomErasing": {"ratio": [3.0, 0.3]}},
        "size": {"RandomCrop": {"size": 20, "padding": 1}},
    }
    for name, entry in cases.items():
        params = loaded({"vae.augmentation": [FLIP, entry]})
        ((location, text),) = augmentation_errors(params, "vae").items()

        assert location == ("vae", "augmentation", 1)
        message(f"params/augmentation: {name}", text)


def test_valid_transforms_have_no_errors(loaded):
    entries = [
        FLIP,
        {"RandomCrop": {"padding": 1}},
        {"RandomCrop": {"size": 28, "padding": [1, 2]}},
        {"RandomAffine": {"degrees": 10, "interpolation": "bilinear"}},
        {"ColorJitter": {"brightness": [0.8, 1.2]}},
        {"RandAugment": {}},
    ]

    assert augmentation_errors(loaded({"gan.augmentation": entries}), "gan") == {}


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"train.augmentation": [TYPO]}, ["search", "train", "compare"]),
        ({"finetune.augmentation": [TYPO]}, ["finetune"]),
        ({"reference.augmentation": [TYPO]}, ["reference"]),
        ({"gan.augmentation": [TYPO]}, ["gan"]),
        ({"denoise.unet.augmentation": [TYPO]}, ["denoise"]),
        ({"compare.depth.base": {"train.augmentation": [TYPO]}}, ["compare"]),
        ({"search.space.train.augmentation": SEARCHED}, ["search"]),
        (
            {
                "finetune.search": {
                    "trials": 2,
                    "epochs": 1,
                    "max_train_images": 100,
                    "space": {"finetune.augmentation": SEARCHED},
                }
            },
            ["finetune"],
        ),
    ],
)
def test_a_stage_checks_what_it_applies_and_fetch_checks_everything(loaded, changes, stages):
    params = loaded(changes)

    for stage in ("fetch", "search", "train", "compare", "denoise", "finetune", "reference", "vae"):
        expected = stage in ("fetch", *stages)
        assert bool(augmentation_errors(params, stage)) == expected, stage
    assert augmentation_errors(params, "") == {}


def test_a_searched_list_is_not_checked_before_its_value_is_known(loaded):
    space = {"type": "categorical", "choices": [[], [FLIP]]}
    params = loaded({"train.augmentation": "search", "search.space.train.augmentation": space})

    assert params.train.augmentation == "search"
    lists = [each for _, each in augmentations(params, "search")]
    assert lists == [[], [FLIP]]


def test_an_error_names_file_line_and_entry(edited, tmp_path, message):
    document = edited({"reference.augmentation": [TYPO]})
    path = tmp_path / "params.yaml"
    YAML().dump(document, path)
    with pytest.raises(ParamsError) as caught:
        load_params(path, "reference")

    assert load_params(path, "train").reference.augmentation == (TYPO,)
    line = next(
        i for i, row in enumerate(path.read_text().splitlines(), 1) if "- RandomCrop:" in row
    )
    text = str(caught.value)
    assert f"{path}:{line}: reference.augmentation.0: " in text
    message("params/augmentation: one error", text.replace(f":{line}:", ":<line>:"))


def test_old_keys_name_the_new_one(errors, message):
    for key, value in (("flip", True), ("shift", 1)):
        message(f"params/augmentation: {key}", errors({f"reference.{key}": value}))
    message(
        "params/augmentation: searched flip",
        errors(
            {
                "finetune.search": {
                    "trials": 2,
                    "epochs": 1,
                    "max_train_images": 100,
                    "space": {"finetune.flip": {"type": "categorical", "choices": [True, False]}},
                }
            }
        ),
    )
