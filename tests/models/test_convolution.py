import pytest
import torch

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.convolution import layer_sizes


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("image_size", [8, 28, 32, 36, 64])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_decoder_returns_exactly_the_size_of_the_image(image_size, depth, layers, upsampling):
    shape = (depth, image_size, image_size)
    model = Autoencoder(shape, [4, 6, 8][:layers], 16, 2, "silu", upsampling)
    images = torch.rand(2, *shape)

    outputs = model(images)

    assert outputs.shape == images.shape
    assert outputs.min() >= 0
    assert outputs.max() <= 1


def test_every_layer_halves_the_image_and_28_pixels_end_at_3():
    assert layer_sizes(28, 3) == [28, 14, 7, 3]


def test_an_image_that_vanishes_is_refused_with_the_layer_where_it_does():
    with pytest.raises(ValueError, match=r"convolution 4 of 5 .* 8 pixels shrinks to 1"):
        layer_sizes(8, 5)


def test_parameters_match_the_published_network():
    """The layer listing of the three-convolution network at 16, 32, 64 channels, latent 2."""
    model = Autoencoder((1, 28, 28), [16, 32, 64], 64, 2, "relu", "transposed")
    encoder = (16 * 9 + 16) + (32 * 16 * 9 + 32) + (64 * 32 * 9 + 64) + (576 * 64 + 64)
    code = 64 * 2 + 2
    decoder = (2 * 64 + 64) + (64 * 576 + 576)
    decoder += (64 * 32 * 9 + 32) + (32 * 16 * 9 + 16) + (16 * 9 + 1)

    assert sum(p.numel() for p in model.parameters()) == encoder + code + decoder


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu", "elu"])
def test_every_weight_gets_a_gradient(activation):
    torch.manual_seed(0)
    model = Autoencoder((1, 28, 28), [8, 16, 32], 64, 8, activation, "subpixel")
    images = torch.rand(4, 1, 28, 28)

    model.loss_terms(images, torch.zeros(4))["loss"].backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
