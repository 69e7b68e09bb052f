import torch
from torch.nn.functional import mse_loss

from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture


def test_the_loss_is_the_mean_squared_error_per_pixel():
    torch.manual_seed(0)
    model = Autoencoder(Architecture((1, 28, 28), [8, 16, 32], 64, 8))
    images = torch.rand(5, 1, 28, 28)

    terms = model.loss_terms(images, torch.zeros(5))

    torch.testing.assert_close(terms["loss"], mse_loss(model(images), images))
    torch.testing.assert_close(terms["mse"], terms["loss"])


def test_a_reconstruction_is_the_decoded_latent_code():
    model = Autoencoder(Architecture((3, 32, 32), [8, 16], 32, 5, activation="relu")).eval()
    images = torch.rand(2, 3, 32, 32)

    codes = model.encode(images)

    assert codes.shape == (2, 5)
    torch.testing.assert_close(model.decode(codes), model(images))
