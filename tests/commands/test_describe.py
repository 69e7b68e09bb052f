import json

import pytest

from latentlab.commands.describe import DESCRIBED, describe
from latentlab.common.files import write_text
from latentlab.data.image_set import DatasetInfo
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.gan import Discriminator, Generator
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.unet import UNet
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.params.resolve import resolve

FOUND = """\
train.model.channels: [4, 8]
train.model.hidden: 20
train.model.latent_dim: 3
train.learning_rate: 0.01
train.weight_decay: 0.0
train.optimizer: adam
"""
VALUES = {
    "train.model.channels": [4, 8],
    "train.model.hidden": 20,
    "train.model.latent_dim": 3,
    "train.learning_rate": 0.01,
    "train.weight_decay": 0.0,
    "train.optimizer": "adam",
}
IMAGE = (1, 28, 28)


@pytest.fixture
def searched(checkout):
    """A checkout in which the search has found something."""
    write_text(checkout.outputs("search") / "best_params.yaml", FOUND)
    return checkout


def data_dir(checkout, **known):
    """What `fetch` would have written of the images."""
    depth, size = known.get("depth", 1), known.get("size", 28)
    info = DatasetInfo(
        name=known.get("name", "digits"),
        classes=[str(number) for number in range(known.get("classes", 10))],
        image_shape=[depth, size, size],
        sizes={},
        mean=[0.5] * depth,
        std=[0.5] * depth,
        sha256={},
        digest="",
    )
    info.write(checkout.outputs("fetch"))


def networks(params):
    """The network of each section as its stage builds it, on grey images of ten classes."""
    info = DatasetInfo("", [], list(IMAGE), {}, [0.5], [0.5], {}, "")
    autoencoder = Autoencoder(Architecture.of(params.train.model, info))
    vae = Vae(Architecture.of(params.vae.model, info), params.vae.likelihood, params.vae.scale)
    return {
        "train": autoencoder,
        "finetune": Classifier.from_autoencoder(autoencoder, params.finetune.head, 10, False),
        "reference": ReferenceClassifier(
            IMAGE, params.reference.channels, params.reference.features, 10
        ),
        "vae": vae,
        "gan": Generator(IMAGE, params.gan.noise_dim, params.gan.channels, [0.1] * 10),
        "discriminator": Discriminator(IMAGE, params.gan.discriminator_channels, classes=10),
        "skip": UNet(IMAGE, **params.denoise["skip"].tree()["skip"]),
    }


def shapes(layers):
    return [tuple(layer.output_shape) for layer in layers]


@pytest.mark.parametrize("section", [*DESCRIBED, "skip"])
def test_the_parameters_are_those_of_the_network_that_is_trained(searched, latentlab, section):
    params = resolve(load_params(searched.params), VALUES)
    network = networks(params)[section]
    expected = {name: p.numel() for name, p in network.named_parameters()}

    tree = json.loads(latentlab("describe", section, "--json").out)

    counted = {layer["name"]: layer["parameters"] for layer in tree["layers"]}
    for name, count in counted.items():
        of_layer = [n for p, n in expected.items() if name in (p, p.rpartition(".")[0])]
        assert count == sum(of_layer), name
    assert tree["total"]["parameters"] == sum(counted.values()) == sum(expected.values())
    assert tree["total"]["operations"] == sum(layer["operations"] for layer in tree["layers"])


def test_every_layer_is_told_with_its_shape_and_its_operations(searched):
    layers = describe(searched, load_params(searched.params), "train")

    assert [layer.kind for layer in layers] == [
        *["Conv2d", "SiLU"] * 2,
        *["Flatten", "Linear", "SiLU", "Linear"],
        *["Linear", "SiLU", "Linear", "SiLU", "Unflatten"],
        *["Conv2d", "PixelShuffle", "SiLU", "Conv2d", "PixelShuffle", "Sigmoid"],
    ]
    assert shapes(layers)[:8] == [
        *[(4, 14, 14)] * 2,
        *[(8, 7, 7)] * 2,
        *[(8 * 7 * 7,), (20,), (20,), (3,)],
    ]
    assert shapes(layers)[8:] == [
        *[(20,)] * 2,
        *[(8 * 7 * 7,)] * 2,
        *[(8, 7, 7), (16, 7, 7), (4, 14, 14), (4, 14, 14), (4, 14, 14), IMAGE, IMAGE],
    ]
    # a multiplication and an addition for each weight and each pixel of the output
    operations = [layer.operations for layer in layers if layer.operations]
    assert operations == [
        2 * (3 * 3 * 1 * 4) * 14**2,
        2 * (3 * 3 * 4 * 8) * 7**2,
        2 * 8 * 7 * 7 * 20,
        2 * 20 * 3,
        2 * 3 * 20,
        2 * 20 * 8 * 7 * 7,
        2 * (3 * 3 * 8 * 16) * 7**2,
        2 * (3 * 3 * 4 * 4) * 14**2,
    ]


def test_a_person_sees_a_table_with_the_totals_at_its_foot(searched, latentlab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    tree = json.loads(latentlab("describe", "--json").out)

    answer = latentlab("describe")

    assert answer.code == 0
    assert answer.err == ""
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert lines[0] == ["the", "network", "of", "train"]
    assert ["encoder.0", "Conv2d", "4", "x", "14", "x", "14", "40", "14,112"] in lines
    totals = [f"{tree['total'][name]:,}" for name in ("parameters", "operations")]
    assert lines[-1] == ["total", *totals]
    assert len(lines) == len(tree["layers"]) + 3


def test_train_is_described_where_no_section_is_named(searched, latentlab):
    assert latentlab("describe").out == latentlab("describe", "train").out


def test_the_images_are_those_that_fetch_wrote(searched, latentlab):
    data_dir(searched, depth=3, classes=7)

    tree = json.loads(latentlab("describe", "finetune", "--json").out)

    assert tree["layers"][0]["parameters"] == 3 * 3 * 3 * 4 + 4
    assert tree["layers"][-1]["output_shape"] == [7]


@pytest.mark.parametrize("known", [{"name": "others", "depth": 3}, {"size": 32, "depth": 3}])
def test_what_fetch_wrote_of_other_images_is_not_taken(searched, latentlab, known):
    before = latentlab("describe").out
    data_dir(searched, **known)

    assert latentlab("describe").out == before


@pytest.mark.parametrize("section", ["train", "finetune"])
def test_the_word_search_needs_what_the_search_found(checkout, latentlab, section):
    answer = latentlab("describe", section)

    assert answer.code == 4
    assert answer.out == ""
    assert "best_params.yaml is missing; run `dvc repro search` first" in answer.err


@pytest.mark.parametrize("section", ["vae", "gan"])
def test_what_is_not_searched_is_described_before_any_search(checkout, latentlab, section):
    assert latentlab("describe", section).code == 0


def test_an_unknown_section_is_a_mistake_of_the_user(checkout, latentlab):
    answer = latentlab("describe", "evaluate")

    assert answer.code == 2
    assert "'evaluate' has no network; describe one of train, finetune, reference" in answer.err
