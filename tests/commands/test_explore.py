"""`latentlab latent`, `decode`, `walk` and `explore` on small random models."""

import json
import webbrowser

import pytest
import torch

from crafting import write_random_splits
from latentlab.data.corruption import Corruption, CorruptionSpec
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
    """A checkout with random images and untrained networks."""
    data_dir = checkout.outputs("fetch")
    write_random_splits(data_dir, train=80, validation=60)
    DatasetInfo("shapes", ["a", "b"], [1, 8, 8], {}, [0.5], [0.3], {}, "").write(data_dir)
    torch.manual_seed(0)
    autoencoder = Autoencoder(ARCHITECTURE)
    save_model(autoencoder, checkout.outputs("train") / "model")
    save_model(Vae(ARCHITECTURE, "gaussian"), checkout.outputs("vae") / "model")
    noise = Corruption([CorruptionSpec("gaussian", 0.3, 0.3)])
    save_model(Denoiser(autoencoder, noise), checkout.outputs("denoise") / "model" / "gaussian")
    return checkout


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("model", ["autoencoder", "vae", "gaussian"])
def test_latent_prints_metrics_of_a_latent_space_and_draws_it(trained, latentlab, model):
    answer = latentlab("latent", "--model", model, "--json")

    assert answer.code == 0, answer.err
    metrics = json.loads(answer.out)
    assert 0 <= metrics["knn_accuracy"] <= 1
    assert set(metrics["trustworthiness"]) == {"pca_2d", "tsne_2d", "pca_3d", "tsne_3d"}
    assert metrics["explained_variance"]["pca_2d"] == pytest.approx(1)
    assert set(metrics["walks"]) == {"a_to_b"}
    assert metrics["pixel_pca"]["mse"] > 0
    maps = ("latent", "pca_2d", "pca_3d", "tsne_2d", "tsne_3d", "kde", "samples", "latent_grid")
    assert files(trained.root / "latent") == {f"{model}_{name}.png" for name in maps} | {
        f"{model}_walk_a_to_b.{suffix}" for suffix in ("png", "gif")
    }


def test_probes_of_the_training_split_are_fitted_to_other_images(trained):
    from latentlab.commands import explore
    from latentlab.params.load import load_params

    probe = explore.encode_probe(trained, load_params(trained.params), "vae", "train")

    assert (len(probe.source.train), len(probe.source.images)) == (60, 80)


def test_decode_draws_codes_into_a_chosen_folder(trained, latentlab):
    answer = latentlab("decode", "--at", "-3,2", "--at", "0.5,0", "--out", "here")

    assert answer.code == 0, answer.err
    assert answer.out == "here/autoencoder_decoded.png\n"
    assert files(trained.root / "here") == {"autoencoder_decoded.png"}


@torch.inference_mode()
def test_decode_shows_the_nearest_training_images_in_the_order_of_their_distance(
    trained, latentlab, monkeypatch
):
    drawn = {}
    monkeypatch.setattr(images, "plot_rows", lambda target, rows, title: drawn.update(rows))
    model = load_model(Autoencoder, trained.outputs("train") / "model")
    train = load_split(trained.outputs("fetch"), "train").floats()
    code = model.encode(train[3:4]) + 1e-4
    at = ",".join(f"{value:.6f}" for value in code[0].tolist())

    latentlab("decode", f"--at={at}")

    (row,) = drawn.values()
    assert torch.allclose(row[:1], model.decode(code), atol=1e-4)
    distances = torch.cdist(code, model.encode(train))[0]
    assert torch.equal(row[1:], train[distances.topk(5, largest=False).indices])
    assert torch.equal(row[1], train[3])


def test_walk_interpolates_between_classes_and_images(trained, latentlab):
    for ends, name in ((("a", "b"), "a_to_b"), (("b", "#59"), "b_to_image_59")):
        answer = latentlab("walk", *ends, "--steps", "4", "--out", name)

        assert answer.code == 0, answer.err
        smoothness = json.loads(answer.out)
        assert set(smoothness) == {"linear_smoothness", "spherical_smoothness"}
        assert all(value >= 1 for value in smoothness.values())
        expected = {f"autoencoder_walk_{name}.{suffix}" for suffix in ("png", "gif")}
        assert files(trained.root / name) == expected


def test_an_invalid_argument_is_explained_in_one_line(trained, latentlab, message):
    for name, arguments in {
        "misspelled model": ["latent", "--model", "vea"],
        "model without latent space": ["latent", "--model", "unet"],
        "too many coordinates": ["decode", "--at", "1,2,3"],
        "coordinates with semicolons": ["decode", "--at", "1;2"],
        "coordinates that are not finite": ["decode", "--at", "nan,0"],
        "unknown class": ["walk", "a", "c"],
        "image number out of range": ["walk", "a", "#60"],
    }.items():
        answer = latentlab(*arguments)

        assert answer.code == 2
        assert answer.err.count("\n") == 1
        message(f"explore/{name}", answer.err.rstrip())
    assert not (trained.root / "latent").exists()


def test_explore_opens_the_page_in_the_browser(checkout, latentlab, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    page = checkout.outputs("report") / "explorer.html"
    page.parent.mkdir(parents=True)
    page.touch()

    assert latentlab("explore").out == f"{page}\n"
    assert opened == [page.as_uri()]


def test_explore_without_a_page_names_the_stage_that_writes_it(checkout, latentlab):
    answer = latentlab("explore")

    assert answer.code == 4
    assert "explorer.html does not exist; run `dvc repro report`" in answer.err


def test_a_missing_model_is_an_environment_problem(trained, latentlab):
    (trained.outputs("vae") / "model" / "model.json").unlink()
    answer = latentlab("latent", "--model", "vae")

    assert answer.code == 4
    assert "run `dvc repro`" in answer.err
