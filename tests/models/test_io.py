import json

import pytest
import torch
from safetensors import SafetensorError

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import sha256_of
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.gan import Generator
from latentlab.models.io import load_model, save_model, write_not_trained
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


def test_a_loaded_model_computes_the_same_as_the_saved_one(tmp_path):
    for model, inputs in make_models():
        save_model(model, tmp_path)

        loaded = load_model(type(model), tmp_path)

        assert not loaded.training
        assert torch.equal(loaded(inputs), model.eval()(inputs)), type(model)


def test_saving_a_model_twice_writes_identical_files(tmp_path):
    model = Autoencoder(PLAIN)
    for name in ("a", "b"):
        save_model(model, tmp_path / name)

    for file in ("weights.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def error_of_loading(folder):
    with pytest.raises(EnvironmentProblem) as raised:
        load_model(Autoencoder, folder)
    return raised.value


def test_a_model_of_another_family_is_rejected(tmp_path, message):
    save_model(Generator(SHAPE, 6, 4), tmp_path)

    message("model/other family", error_of_loading(tmp_path))


def test_the_error_for_a_missing_model_says_what_to_run(tmp_path, message):
    message("model/missing", error_of_loading(tmp_path / "missing"))


def test_the_error_for_a_model_that_was_not_trained_says_why(tmp_path, message):
    write_not_trained(tmp_path, "flowers has no class labels")

    message("model/not trained", error_of_loading(tmp_path))


def test_truncated_files_are_rejected(tmp_path, message):
    for name in ("weights.safetensors", "model.json"):
        save_model(Autoencoder(PLAIN), tmp_path)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])

        message(f"model/truncated {name}", error_of_loading(tmp_path))


def test_weights_with_a_single_changed_byte_are_rejected(tmp_path, message):
    """The last byte belongs to a weight, so the file itself is still valid."""
    save_model(Autoencoder(PLAIN), tmp_path)
    weights = tmp_path / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0x01
    weights.write_bytes(content)

    message("model/wrong checksum", error_of_loading(tmp_path))


def test_weights_that_are_no_safetensors_file_are_rejected_despite_their_checksum(tmp_path):
    save_model(Autoencoder(PLAIN), tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    description = json.loads((tmp_path / "model.json").read_text())
    description["sha256"] = sha256_of(tmp_path / "weights.safetensors")
    (tmp_path / "model.json").write_text(json.dumps(description))

    assert "is corrupt" in str(error_of_loading(tmp_path))


def test_descriptions_that_do_not_match_the_weights_are_rejected(tmp_path):
    save_model(Autoencoder(PLAIN), tmp_path)
    complete = json.loads((tmp_path / "model.json").read_text())
    changes = {
        "no family": {"family": None},
        "no config": {"config": None},
        "incomplete config": {"config": {"channels": [4]}},
        "config of other weights": {"config": Architecture(SHAPE, [4, 8], 16, 5).config},
        "no checksum": {"sha256": None},
    }
    for case, change in changes.items():
        description = {k: v for k, v in (complete | change).items() if v is not None}
        (tmp_path / "model.json").write_text(json.dumps(description))

        assert "is corrupt" in str(error_of_loading(tmp_path)), case


def test_a_full_disk_is_reported_and_leaves_no_files(tmp_path, monkeypatch, message):
    def raise_disk_full(weights, path):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", raise_disk_full)

    with pytest.raises(EnvironmentProblem) as raised:
        save_model(Autoencoder(PLAIN), tmp_path)
    message("model/disk full", raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_description_holds_family_config_and_checksum(tmp_path):
    model = Autoencoder(PLAIN)
    save_model(model, tmp_path)

    description = json.loads((tmp_path / "model.json").read_text())

    assert description["family"] == "autoencoder"
    assert description["config"]["channels"] == [4, 8]
    assert description["sha256"] == sha256_of(tmp_path / "weights.safetensors")
