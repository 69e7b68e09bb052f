import json

import pytest
import torch
from safetensors import SafetensorError

from latentlab.common.errors import EnvironmentProblem
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.gan import Generator
from latentlab.models.io import load_model, save_model
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture

SHAPE = (1, 28, 28)
PLAIN = Architecture(SHAPE, channels=[4, 8], hidden=16, latent_dim=3)
RICH = Architecture(
    SHAPE,
    channels=[4, 8],
    hidden=[16, 12],
    latent_dim=3,
    kernel=[5, 3],
    stride=[1, 2],
    padding=[2, 1],
    dropout=0.2,
    batch_norm=True,
    upsampling="transposed",
    output="linear",
    mean=[0.2],
    std=[0.3],
)


def make_models():
    for architecture in (PLAIN, RICH):
        autoencoder = Autoencoder(architecture)
        yield autoencoder, torch.rand(2, *SHAPE)
        yield Vae(architecture, likelihood="gaussian", scale=0.2), torch.rand(2, *SHAPE)
        yield Classifier.from_autoencoder(autoencoder, [5], 10, False), torch.rand(2, *SHAPE)
    yield (
        Classifier.from_autoencoder(autoencoder, [5], 10, False, mirrored=True),
        torch.rand(2, *SHAPE),
    )
    yield Generator(SHAPE, 6, 4), torch.randn(2, 6)


@pytest.mark.parametrize(("model", "inputs"), [*make_models()], ids=lambda v: type(v).__name__)
def test_a_stored_model_comes_back_the_same(model, inputs, tmp_path):
    save_model(model, tmp_path)

    restored = load_model(type(model), tmp_path)

    assert not restored.training
    assert torch.equal(restored(inputs), model.eval()(inputs))


def test_the_same_model_is_stored_as_the_same_bytes(tmp_path):
    model = Autoencoder(PLAIN)
    for name in ("a", "b"):
        save_model(model, tmp_path / name)

    for file in ("weights.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_model_of_another_family_is_refused(tmp_path):
    save_model(Generator(SHAPE, 6, 4), tmp_path)

    with pytest.raises(EnvironmentProblem, match="family 'generator', not 'autoencoder'"):
        load_model(Autoencoder, tmp_path)


def test_a_missing_model_says_what_to_run(tmp_path):
    with pytest.raises(EnvironmentProblem, match="run `dvc repro`"):
        load_model(Autoencoder, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_broken_model_says_what_to_do(tmp_path, name):
    save_model(Autoencoder(PLAIN), tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(EnvironmentProblem, match=r"is broken .*; delete the folder and run"):
        load_model(Autoencoder, tmp_path)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"family": "autoencoder"},
        {"family": "autoencoder", "config": {"channels": [4]}},
        {"family": "autoencoder", "config": Architecture(SHAPE, [4, 8], 16, 5).config},
    ],
    ids=["empty", "no config", "half a config", "other weights"],
)
def test_a_description_that_does_not_fit_says_what_to_do(tmp_path, description):
    save_model(Autoencoder(PLAIN), tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(description))

    with pytest.raises(EnvironmentProblem, match=r"is broken .*; delete the folder and run"):
        load_model(Autoencoder, tmp_path)


def test_a_full_disk_is_an_error_for_a_person(tmp_path, monkeypatch):
    def refuse(weights, path):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", refuse)

    with pytest.raises(EnvironmentProblem, match=r"cannot be written: .*No space left"):
        save_model(Autoencoder(PLAIN), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_description_is_plain_json(tmp_path):
    save_model(Autoencoder(PLAIN), tmp_path)

    description = json.loads((tmp_path / "model.json").read_text())

    assert description["family"] == "autoencoder"
    assert description["config"]["channels"] == [4, 8]
