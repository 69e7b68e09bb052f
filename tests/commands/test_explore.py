"""`latentlab latent`, `decode` and `walk` on models that were trained a moment."""

import json

import pytest
import torch

from crafting import write_random_splits
from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import DatasetInfo, load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.denoiser import Denoiser
from latentlab.models.io import load_model, save_model
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.plots import images

ARCHITECTURE = Architecture(image_shape=[1, 8, 8], channels=[4], hidden=8, latent_dim=2)


@pytest.fixture
def trained(checkout):
    """A checkout with random images and random networks."""
    data_dir = checkout.outputs("fetch")
    write_random_splits(data_dir, train=80, validation=60)
    DatasetInfo("shapes", ["a", "b"], [1, 8, 8], {}, [0.5], [0.3], {}, "").write(data_dir)
    torch.manual_seed(0)
    autoencoder = Autoencoder(ARCHITECTURE)
    save_model(autoencoder, checkout.outputs("train") / "model")
    save_model(Vae(ARCHITECTURE, "gaussian"), checkout.outputs("vae") / "model")
    noise = Corruption([Kind("gaussian", 0.3, 0.3)])
    save_model(Denoiser(autoencoder, noise), checkout.outputs("denoise") / "model" / "gaussian")
    return checkout


def pictures(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("model", ["autoencoder", "vae", "gaussian"])
def test_a_latent_space_is_examined(trained, latentlab, model):
    answer = latentlab("latent", "--model", model, "--json")

    assert answer.code == 0, answer.err
    figures = json.loads(answer.out)
    assert 0 <= figures["knn_accuracy"] <= 1
    assert set(figures["trustworthiness"]) == {"pca_2d", "tsne_2d", "pca_3d", "tsne_3d"}
    assert figures["explained_variance"]["pca_2d"] == pytest.approx(1)
    assert set(figures["walks"]) == {"a_to_b"}
    drawn = pictures(trained.root / "latent")
    kinds = ("latent", "pca_2d", "pca_3d", "tsne_2d", "tsne_3d", "kde", "kde_samples", "plane")
    assert drawn == {f"{model}_{kind}.png" for kind in kinds} | {
        f"{model}_walk_a_to_b.{suffix}" for suffix in ("png", "gif")
    }


def test_codes_are_decoded_beside_the_nearest_training_images(trained, latentlab):
    answer = latentlab("decode", "--at", "-3,2", "--at", "0.5,0", "--out", "here")

    assert answer.code == 0, answer.err
    assert answer.out == "here/autoencoder_decoded.png\n"
    assert pictures(trained.root / "here") == {"autoencoder_decoded.png"}


@torch.inference_mode()
def test_the_nearest_training_images_come_in_the_order_of_their_distance(
    trained, latentlab, monkeypatch
):
    drawn = {}
    monkeypatch.setattr(images, "plot_rows", lambda target, rows, title: drawn.update(rows))
    model = load_model(Autoencoder, trained.outputs("train") / "model")
    known = load_split(trained.outputs("fetch"), "train").floats()
    code = model.encode(known[3:4]) + 1e-4
    at = ",".join(f"{value:.6f}" for value in code[0].tolist())

    latentlab("decode", f"--at={at}")

    (row,) = drawn.values()
    assert torch.allclose(row[:1], model.decode(code), atol=1e-4)
    distances = torch.cdist(code, model.encode(known))[0]
    assert torch.equal(row[1:], known[distances.topk(5, largest=False).indices])
    assert torch.equal(row[1], known[3])


@pytest.mark.parametrize("ends", [("a", "b"), ("#0", "#59"), ("b", "#7")])
def test_one_walks_between_classes_and_images(trained, latentlab, ends):
    answer = latentlab("walk", *ends, "--steps", "4")

    assert answer.code == 0, answer.err
    figures = json.loads(answer.out)
    assert set(figures) == {"straight_smoothness", "spherical_smoothness"}
    assert all(value >= 1 for value in figures.values())
    assert len(pictures(trained.root / "latent")) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["latent", "--model", "vea"], "no model with a code is called 'vea'; did you mean 'vae'?"),
        (["latent", "--model", "skip"], "no model with a code is called 'skip'"),
        (["decode", "--at", "1,2,3"], "--at has 3 coordinates, but a code of autoencoder has 2"),
        (["decode", "--at", "1;2"], "--at '1;2': write numbers with commas, such as -3,2"),
        (["decode", "--at", "nan,0"], "--at 'nan,0': write numbers with commas, such as -3,2"),
        (["walk", "a", "c"], "'c' is neither a class nor an image"),
        (["walk", "a", "#60"], "validation images are #0 to #59"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(trained, latentlab, arguments, told):
    answer = latentlab(*arguments)

    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert not (trained.root / "latent").exists()


def test_a_model_that_was_not_trained_is_told_with_what_to_do(trained, latentlab):
    (trained.outputs("vae") / "model" / "model.json").unlink()
    answer = latentlab("latent", "--model", "vae")

    assert answer.code == 4
    assert "run `dvc repro`" in answer.err
