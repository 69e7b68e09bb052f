import itertools

import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.layers import ACTIVATIONS, Decoder, Encoder, Standardize, Unstandardize
from latentlab.params.geometry import Architecture

UPSAMPLING = ["subpixel", "transposed"]


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_the_decoder_returns_images_of_exactly_the_input_size(upsampling):
    for image_size, layers in itertools.product((8, 28, 32, 36, 64), (1, 2, 3)):
        shape = (2 * layers - 1, image_size, image_size)
        model = Autoencoder(Architecture(shape, [4, 6, 8][:layers], 16, 2, upsampling=upsampling))
        images = torch.rand(2, *shape)

        outputs = model(images)

        assert outputs.shape == images.shape
        assert outputs.min() >= 0
        assert outputs.max() <= 1


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_the_decoder_mirrors_any_kernel_stride_and_padding(upsampling):
    for geometry in (
        {"kernel": 5, "stride": 3},
        {"kernel": 2, "padding": 0},
        {"kernel": 4, "stride": 1, "padding": 0},
        {"kernel": [7, 3, 1], "stride": [4, 2, 1]},
        {"kernel": 3, "stride": [1, 2, 2], "padding": [1, 0, 2]},
    ):
        made = Architecture((1, 30, 30), [4, 6, 8], 16, 2, upsampling=upsampling, **geometry)

        assert Autoencoder(made)(torch.rand(2, 1, 30, 30)).shape == (2, 1, 30, 30), geometry


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_the_output_of_an_untrained_decoder_has_the_brightness_of_the_images(upsampling):
    torch.manual_seed(0)
    brightness = [0.1, 0.5, 0.8]
    decoder = Decoder(
        Architecture((3, 16, 16), [4, 8], 16, 2, upsampling=upsampling, brightness=brightness)
    )

    outputs = decoder(torch.randn(64, 2)).detach()

    assert outputs.mean((0, 2, 3)).tolist() == pytest.approx(brightness, abs=0.05)


@pytest.mark.parametrize("brightness", [0.0, 1.0])
def test_the_gradient_does_not_vanish_for_entirely_black_or_white_images(brightness):
    torch.manual_seed(0)
    network = Autoencoder(Architecture((1, 8, 8), [4], 8, 2, brightness=[brightness]))
    images = torch.full((4, 1, 8, 8), brightness)

    network.loss_terms(images, torch.zeros(4))["loss"].backward()

    assert 0 < float(network.decoder[-2][0].bias.grad.abs().max()) < 1


def output_sizes(architecture):
    return [layer.output_size for layer in architecture.convolutions()]


def test_layers_halve_the_image_from_28_pixels_to_3_by_default():
    assert output_sizes(Architecture((1, 28, 28), [4, 4, 4], 16, 2)) == [14, 7, 3]


def test_the_output_size_of_a_layer_equals_that_of_torch():
    for kernel, stride, padding in itertools.product((1, 2, 3, 5, 7), (1, 2, 3), (0, 1, 2)):
        architecture = Architecture(
            (1, 20, 20), [4], 16, 2, kernel=kernel, stride=stride, padding=padding
        )
        reference = nn.Conv2d(1, 4, kernel, stride, padding)(torch.rand(1, 1, 20, 20))

        assert output_sizes(architecture) == [reference.shape[-1]]


def test_layer_shapes_are_those_that_the_architecture_computes():
    architecture = Architecture((3, 32, 32), [4, 6], [20, 10], 2, kernel=[5, 3], stride=[3, 1])
    encoder = Encoder(architecture)
    images = torch.rand(2, 3, 32, 32)

    sizes = []
    for layer in encoder:
        images = layer(images)
        if isinstance(layer, nn.Conv2d):
            sizes.append(tuple(images.shape[1:]))

    expected = architecture.convolutions()
    assert sizes == [(each.outputs, each.output_size, each.output_size) for each in expected]
    assert images.shape == (2, 10)
    assert encoder.features == 10
    assert [layer.in_features for layer in encoder if isinstance(layer, nn.Linear)] == [
        architecture.flat,
        20,
    ]


def test_an_encoder_without_linear_layers_ends_after_the_last_convolution():
    architecture = Architecture((1, 28, 28), [4, 8], [], 3)

    assert Encoder(architecture).features == architecture.flat == 8 * 7 * 7
    assert Autoencoder(architecture)(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


def test_batch_norm_and_dropout_follow_every_layer_except_the_last():
    architecture = Architecture((1, 28, 28), [4, 8], 16, 3, dropout=0.3, batch_norm=True)
    kinds = [type(layer).__name__ for layer in Encoder(architecture)]
    decoder = [type(layer).__name__ for layer in Decoder(architecture)]

    assert kinds == [
        *["Conv2d", "BatchNorm2d", "SiLU", "Dropout"] * 2,
        "Flatten",
        *["Linear", "BatchNorm1d", "SiLU", "Dropout"],
    ]
    assert decoder == [
        *["Linear", "BatchNorm1d", "SiLU", "Dropout"] * 2,
        "Unflatten",
        *["Sequential", "BatchNorm2d", "SiLU", "Dropout"],
        *["Sequential", "Sigmoid"],
    ]


def test_standardizing_per_channel_is_inverted_by_unstandardizing():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 1.0]
    images = torch.rand(2, 3, 8, 8)
    standardized = Standardize(mean, std)(images)

    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(standardized[:, channel], expected)
    torch.testing.assert_close(Unstandardize(mean, std)(standardized), images)


def test_the_last_layer_of_the_decoder_maps_to_the_scale_of_pixels():
    last = {
        # output, whether images are standardized
        ("sigmoid", False): "Sigmoid",
        ("sigmoid", True): "Sigmoid",
        ("linear", False): "Sequential",
        ("linear", True): "Unstandardize",
    }
    for (output, standardized), name in last.items():
        statistics = {"mean": [0.2], "std": [0.3]} if standardized else {}
        architecture = Architecture((1, 28, 28), [4, 8], 16, 3, output=output, **statistics)

        assert type(Decoder(architecture)[-1]).__name__ == name
        assert (type(Encoder(architecture)[0]).__name__ == "Standardize") == standardized


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parameter_gets_a_gradient(activation):
    torch.manual_seed(0)
    model = Autoencoder(Architecture((1, 28, 28), [8, 16, 32], 64, 8, activation=activation))
    images = torch.rand(4, 1, 28, 28)

    model.loss_terms(images, torch.zeros(4))["loss"].backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
