"""The rules of `latentlab init`: statistics of the data in, settings with reasons out."""

import pytest

from latentlab.commands.data_facts import DataFacts
from latentlab.commands.derive import MIN_EPOCHS, MINUTES, STEPS, derive, estimate_minutes
from latentlab.params.schema import DataParams


def facts(size=32, **changes):
    """Return the statistics of 600 RGB images in 6 classes, with some `changes`."""
    usual = {
        "data": DataParams(name="mine", image_size=size),
        "images": 600,
        "train_images": 432,
        "classes": 6,
        "smallest_class": 72,
        "channels": 3,
        "entropy": 7.5,
        "components": 5,
        "mirrored": True,
        "movable": False,
    }
    return DataFacts(**usual | changes)


def settings(found):
    return {setting.path: setting.value for setting in derive(found)}


RULES = {
    "few images get many epochs": ({}, {"train.epochs": 143, "vae.epochs": 143}),
    "ten times the images get a tenth of the epochs": (
        {"train_images": 4320},
        {"train.epochs": 15, "reference.epochs": 4},
    ),
    "many images have larger batches and a least number of epochs": (
        {"train_images": 54_000},
        {"train.epochs": MIN_EPOCHS, "optimization.batch_size": 64, "vae.batch_size": 64},
    ),
    "short trainings use some of many images": (
        {"train_images": 54_000},
        {"compare.depth.max_train_images": 5000, "search.max_train_images": 5000},
    ),
    "larger images have fewer steps": ({"size": 64}, {"train.epochs": 36, "data.image_size": 64}),
    "smaller images have as many steps": ({"size": 16}, {"train.epochs": 143}),
    "the latent dimension follows the spectrum": (
        {"components": 9},
        {"train.model.latent_dim": 9, "vae.model.latent_dim": 9},
    ),
    "a simple spectrum": ({"components": 1}, {"train.model.latent_dim": 4}),
    "a flat spectrum": (
        {"components": 80},
        {"train.model.latent_dim": 16, "compare.latent_dim.values": [2, 8, 16, 32]},
    ),
    "few images are shifted and mirrored": (
        {},
        {
            "train.augmentation": [
                {"RandomHorizontalFlip": {"p": 0.5}},
                {"RandomCrop": {"padding": 2, "padding_mode": "reflect"}},
            ]
        },
    ),
    "images with a direction are not mirrored": (
        {"mirrored": False},
        {"vae.augmentation": [{"RandomCrop": {"padding": 2, "padding_mode": "reflect"}}]},
    ),
    "images that may be moved are moved by a quarter of their size": (
        {"mirrored": False, "movable": True},
        {
            "vae.augmentation": [{"RandomCrop": {"padding": 8, "padding_mode": "reflect"}}],
            "gan.augmentation": [{"RandomCrop": {"padding": 2, "padding_mode": "reflect"}}],
        },
    ),
    "many images are not augmented": ({"train_images": 5000}, {"gan.augmentation": []}),
    "label budgets are at most half of the smallest class": (
        {"smallest_class": 40},
        {
            "finetune.label_efficiency": {
                "labels_per_class": [4, 16],
                "seeds": 1,
                "epochs": 2,
                "images_per_epoch": 960,
                "batch_size": 32,
            }
        },
    ),
    "no label budgets for tiny classes": (
        {"smallest_class": 7},
        {"finetune.label_efficiency": None},
    ),
    "large classes condition the GAN": ({}, {"gan.conditional": True}),
    "small classes do not": ({"smallest_class": 21}, {"gan.conditional": False}),
    "many classes do not": ({"classes": 40}, {"gan.conditional": False}),
    "no labels": (
        {"classes": 0, "smallest_class": 0},
        {"gan.conditional": False, "finetune.label_efficiency": None},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule):
    changes, expected = RULES[rule]

    found = settings(facts(**changes))

    assert {path: found[path] for path in expected} == expected


def test_derived_values_have_reasons():
    reasons = {setting.path: setting.reason for setting in derive(facts())}

    for path in (
        "optimization.batch_size",
        "search.trials",
        "train.epochs",
        "train.model.latent_dim",
        "train.augmentation",
        "compare.latent_dim.epochs",
        "denoise.gaussian.network",
        "finetune.label_efficiency",
        "gan.conditional",
    ):
        assert len(reasons[path]) > 5, path
    assert reasons["train.model.latent_dim"].startswith("5 principal components explain 90%")


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("images", [100, 432, 1500])
def test_small_datasets_fit_into_six_minutes(images, size):
    assert estimate_minutes(facts(size=size, train_images=images)) <= MINUTES


def test_every_budget_belongs_to_a_training():
    paths = set(settings(facts()))

    for name in STEPS:
        assert any(path.split(".")[0] == name or f".{name}" in path for path in paths), name
