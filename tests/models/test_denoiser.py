import pytest
import torch

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.denoiser import Denoiser
from latentlab.models.io import SavableModel, load_model, save_model
from latentlab.models.unet import UNet
from latentlab.params.geometry import Architecture

NOISE = Corruption([CorruptionSpec("gaussian", 0.3, 0.3)])
NETWORKS = {
    "autoencoder": lambda: Autoencoder(
        Architecture(image_shape=[1, 12, 12], channels=[4], hidden=8, latent_dim=2)
    ),
    "unet": lambda: UNet([1, 12, 12], [4, 6], "silu"),
}


class Identity(SavableModel):
    """Returns its input."""

    family = "identity"
    config: dict = {}  # noqa: RUF012

    def forward(self, images):
        return images


@pytest.fixture
def images():
    return torch.rand(500, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def test_the_loss_compares_with_the_clean_images(images):
    """The error of the identity is the variance of the noise."""
    terms = Denoiser(Identity(), NOISE).loss_terms(images, None)

    assert float(terms["loss"]) == pytest.approx(0.09, rel=0.02)
    assert terms["loss"] is terms["mse"]


def test_in_training_mode_each_batch_draws_new_noise_from_the_global_generator(images):
    denoiser = Denoiser(Identity(), NOISE).train()
    losses = []
    for seed in (0, None, 0):
        if seed is not None:
            torch.manual_seed(seed)
        losses.append(float(denoiser.loss_terms(images, None)["loss"]))

    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def test_in_evaluation_mode_every_batch_draws_the_same_noise(images):
    denoiser = Denoiser(Identity(), NOISE).eval()
    state = torch.get_rng_state()
    first, second = (float(denoiser.loss_terms(images, None)["loss"]) for _ in range(2))

    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_denoiser_computes_the_same_as_the_saved_one(name, images, tmp_path):
    denoiser = Denoiser(NETWORKS[name](), NOISE).eval()
    save_model(denoiser, tmp_path)
    loaded = load_model(Denoiser, tmp_path)

    assert torch.equal(loaded(images), denoiser(images))
    assert loaded.corruption.config == denoiser.corruption.config


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_to_denoise(name, images):
    """Its error on new noise is below the variance of the noise, 0.09."""
    torch.manual_seed(0)
    flat = images.new_full(images.shape, 0.2)
    denoiser = Denoiser(NETWORKS[name](), NOISE).train()
    optimizer = torch.optim.Adam(denoiser.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        denoiser.loss_terms(flat, None)["loss"].backward()
        optimizer.step()

    with torch.no_grad():
        assert float(denoiser.eval().loss_terms(flat, None)["loss"]) < 0.06
