import pytest
import torch

from latentlab.data.corruption import Corruption, Kind
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.denoiser import Denoiser
from latentlab.models.io import load_model, save_model
from latentlab.models.unet import UNet
from latentlab.params.geometry import Architecture

NOISE = Corruption([Kind("gaussian", 0.3, 0.3)])
NETWORKS = {
    "autoencoder": lambda: Autoencoder(
        Architecture(image_shape=[1, 12, 12], channels=[4], hidden=8, latent_dim=2)
    ),
    "unet": lambda: UNet([1, 12, 12], [4, 6], "silu"),
}


class Copy(torch.nn.Module):
    """Gives back what it gets."""

    def forward(self, images):
        return images


@pytest.fixture
def images():
    return torch.rand(500, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def test_the_loss_is_to_the_images_before_they_were_spoilt(images):
    """What does nothing has the variance of the noise."""
    terms = Denoiser(Copy(), NOISE).loss_terms(images, None)

    assert float(terms["loss"]) == pytest.approx(0.09, rel=0.02)
    assert terms["loss"] is terms["mse"]


def test_in_training_every_batch_is_spoilt_afresh_by_the_seed_of_the_process(images):
    denoiser = Denoiser(Copy(), NOISE).train()
    losses = []
    for seed in (0, None, 0):
        if seed is not None:
            torch.manual_seed(seed)
        losses.append(float(denoiser.loss_terms(images, None)["loss"]))

    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def test_in_validation_every_batch_is_spoilt_the_same(images):
    denoiser = Denoiser(Copy(), NOISE).eval()
    state = torch.get_rng_state()
    first, second = (float(denoiser.loss_terms(images, None)["loss"]) for _ in range(2))

    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stored_denoiser_restores_the_same(name, images, tmp_path):
    denoiser = Denoiser(NETWORKS[name](), NOISE).eval()
    save_model(denoiser, tmp_path)
    again = load_model(Denoiser, tmp_path)

    assert torch.equal(again(images), denoiser(images))
    assert again.corruption.config == denoiser.corruption.config


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_to_restore(name, images):
    """Better than doing nothing, on noise that it has not seen."""
    torch.manual_seed(0)
    flat = images.new_full(images.shape, 0.2)
    denoiser = Denoiser(NETWORKS[name](), NOISE).train()
    optimizer = torch.optim.Adam(denoiser.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        denoiser.loss_terms(flat, None)["loss"].backward()
        optimizer.step()

    with torch.no_grad():
        assert float(denoiser.eval().loss_terms(flat, None)["loss"]) < 0.06  # of 0.09
