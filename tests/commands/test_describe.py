import json

import pytest

from latentlab.commands.describe import SECTIONS, describe
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
from latentlab.params.yaml_io import write_yaml

BEST_PARAMS = {
    "train.model.channels": [4, 8],
    "train.model.hidden": 20,
    "train.learning_rate": 0.01,
    "train.weight_decay": 0.0,
    "train.optimizer": "adam",
}
IMAGE = (1, 28, 28)


@pytest.fixture
def searched(checkout):
    """A checkout with the result of a search."""
    write_yaml(checkout.outputs("search") / "best_params.yaml", BEST_PARAMS)
    return checkout


def write_dataset(checkout, name="digits", depth=1, size=28, classes=10):
    """Write the description of a dataset as `fetch` does."""
    info = DatasetInfo(
        name=name,
        classes=[str(number) for number in range(classes)],
        image_shape=[depth, size, size],
        sizes={},
        mean=[0.5] * depth,
        std=[0.5] * depth,
        sha256={},
        digest="",
    )
    info.write(checkout.outputs("fetch"))


def networks(params):
    """Return the network of each section as its stage builds it, for gray images of ten classes."""
    info = DatasetInfo("", [], list(IMAGE), {}, [0.5], [0.5], {}, "")
    autoencoder = Autoencoder(Architecture.of(params.train.model, info))
    vae = Vae(Architecture.of(params.vae.model, info), params.vae.likelihood, params.vae.scale)
    unet = params.denoise["unet"].network
    return {
        "train": autoencoder,
        "finetune": Classifier.from_autoencoder(autoencoder, params.finetune.head, 10, False),
        "reference": ReferenceClassifier(
            IMAGE, params.reference.channels, params.reference.features, 10
        ),
        "vae": vae,
        "gan": Generator(IMAGE, params.gan.noise_dim, params.gan.channels, [0.1] * 10),
        "discriminator": Discriminator(IMAGE, params.gan.discriminator_channels, classes=10),
        "unet": UNet(IMAGE, unet.channels, unet.activation),
    }


def shapes(layers):
    return [tuple(layer.output_shape) for layer in layers]


@pytest.mark.parametrize("section", [*SECTIONS, "unet"])
def test_parameters_are_counted_as_in_the_network_that_the_stage_trains(
    searched, latentlab, section
):
    params = resolve(load_params(searched.params), BEST_PARAMS)
    network = networks(params)[section]
    sizes = {name: p.numel() for name, p in network.named_parameters()}

    tree = json.loads(latentlab("describe", section, "--json").out)

    counts = {layer["name"]: layer["parameters"] for layer in tree["layers"]}
    for layer, count in counts.items():
        of_layer = [n for name, n in sizes.items() if layer in (name, name.rpartition(".")[0])]
        assert count == sum(of_layer), layer
    assert tree["total"]["parameters"] == sum(counts.values()) == sum(sizes.values())
    assert tree["total"]["operations"] == sum(layer["operations"] for layer in tree["layers"])


def test_each_layer_has_its_output_shape_and_operations(searched):
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
        *[(8 * 7 * 7,), (20,), (20,), (8,)],
    ]
    assert shapes(layers)[8:] == [
        *[(20,)] * 2,
        *[(8 * 7 * 7,)] * 2,
        *[(8, 7, 7), (16, 7, 7), (4, 14, 14), (4, 14, 14), (4, 14, 14), IMAGE, IMAGE],
    ]
    # one multiplication and one addition for each weight and output pixel
    operations = [layer.operations for layer in layers if layer.operations]
    assert operations == [
        2 * (3 * 3 * 1 * 4) * 14**2,
        2 * (3 * 3 * 4 * 8) * 7**2,
        2 * 8 * 7 * 7 * 20,
        2 * 20 * 8,
        2 * 8 * 20,
        2 * 20 * 8 * 7 * 7,
        2 * (3 * 3 * 8 * 16) * 7**2,
        2 * (3 * 3 * 4 * 4) * 14**2,
    ]


def test_the_table_has_a_row_for_each_layer_and_the_totals(searched, latentlab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    tree = json.loads(latentlab("describe", "--json").out)

    answer = latentlab("describe")

    assert answer.code == 0
    assert answer.err == ""
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert lines[0] == ["Network", "of", "train"]
    assert ["encoder.0", "Conv2d", "4", "x", "14", "x", "14", "40", "14,112"] in lines
    totals = [f"{tree['total'][name]:,}" for name in ("parameters", "operations")]
    assert lines[-1] == ["total", *totals]
    assert len(lines) == len(tree["layers"]) + 3


def test_the_default_section_is_train(searched, latentlab):
    assert latentlab("describe").out == latentlab("describe", "train").out


def test_the_network_is_built_for_the_dataset_that_fetch_wrote(searched, latentlab):
    write_dataset(searched, depth=3, classes=7)

    tree = json.loads(latentlab("describe", "finetune", "--json").out)

    assert tree["layers"][0]["parameters"] == 3 * 3 * 3 * 4 + 4
    assert tree["layers"][-1]["output_shape"] == [7]


def test_an_output_of_fetch_for_another_dataset_or_size_is_ignored(searched, latentlab):
    before = latentlab("describe").out

    for other in ({"name": "others", "depth": 3}, {"size": 32, "depth": 3}):
        write_dataset(searched, **other)
        assert latentlab("describe").out == before, other


def test_only_sections_with_searched_values_need_a_search_result(checkout, latentlab, message):
    for section in ("train", "finetune"):
        answer = latentlab("describe", section)
        assert answer.code == 4
        assert answer.out == ""
        message("describe/no search result", answer.err)
    for section in ("vae", "gan"):
        assert latentlab("describe", section).code == 0


def test_a_section_without_a_network_is_rejected(checkout, latentlab, message):
    answer = latentlab("describe", "evaluate")

    assert answer.code == 2
    message("describe/unknown section", answer.err)
