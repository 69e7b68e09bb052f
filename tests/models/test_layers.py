import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.layers import Decoder, Encoder, Standardize, Unstandardize
from latentlab.params.geometry import Architecture


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("image_size", [8, 28, 32, 36, 64])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_decoder_returns_exactly_the_size_of_the_image(image_size, depth, layers, upsampling):
    shape = (depth, image_size, image_size)
    model = Autoencoder(Architecture(shape, [4, 6, 8][:layers], 16, 2, upsampling=upsampling))
    images = torch.rand(2, *shape)

    outputs = model(images)

    assert outputs.shape == images.shape
    assert outputs.min() >= 0
    assert outputs.max() <= 1


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel": 5, "stride": 3},
        {"kernel": 2, "padding": 0},
        {"kernel": 4, "stride": 1, "padding": 0},
        {"kernel": [7, 3, 1], "stride": [4, 2, 1]},
        {"kernel": 3, "stride": [1, 2, 2], "padding": [1, 0, 2]},
    ],
)
def test_the_decoder_mirrors_any_kernel_stride_and_padding(geometry, upsampling):
    architecture = Architecture((1, 30, 30), [4, 6, 8], 16, 2, upsampling=upsampling, **geometry)

    assert Autoencoder(architecture)(torch.rand(2, 1, 30, 30)).shape == (2, 1, 30, 30)


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
def test_an_untrained_decoder_is_as_bright_as_the_images(upsampling):
    torch.manual_seed(0)
    brightness = [0.1, 0.5, 0.8]
    decoder = Decoder(
        Architecture((3, 16, 16), [4, 8], 16, 2, upsampling=upsampling, brightness=brightness)
    )

    drawn = decoder(torch.randn(64, 2)).detach().mean((0, 2, 3))

    assert drawn.tolist() == pytest.approx(brightness, abs=0.05)


@pytest.mark.parametrize("brightness", [0.0, 1.0])
def test_a_decoder_of_images_without_light_or_shade_can_still_learn(brightness):
    torch.manual_seed(0)
    network = Autoencoder(Architecture((1, 8, 8), [4], 8, 2, brightness=[brightness]))
    images = torch.full((4, 1, 8, 8), brightness)

    network.loss_terms(images, torch.zeros(4))["loss"].backward()

    assert 0 < float(network.decoder[-2][0].bias.grad.abs().max()) < 1


def output_sizes(architecture):
    return [layer.output_size for layer in architecture.convolutions()]


def test_every_layer_halves_the_image_and_28_pixels_end_at_3():
    assert output_sizes(Architecture((1, 28, 28), [4, 4, 4], 16, 2)) == [14, 7, 3]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_the_size_after_a_layer_is_that_of_torch(kernel, stride, padding):
    architecture = Architecture(
        (1, 20, 20), [4], 16, 2, kernel=kernel, stride=stride, padding=padding
    )
    reference = nn.Conv2d(1, 4, kernel, stride, padding)(torch.rand(1, 1, 20, 20))

    assert output_sizes(architecture) == [reference.shape[-1]]


def test_an_image_that_vanishes_is_refused_with_the_layer_where_it_does():
    architecture = Architecture((1, 8, 8), [4] * 5, 16, 2)

    with pytest.raises(ValueError, match=r"vanishes at convolution 4 of 5: 1 pixels are too few"):
        architecture.convolutions()


@pytest.mark.parametrize("name", ["kernel", "stride", "padding"])
def test_a_list_that_is_not_as_long_as_the_channels_is_refused(name):
    architecture = Architecture((1, 28, 28), [4, 8], 16, 2, **{name: [3, 3, 3]})

    with pytest.raises(ValueError, match=f"{name} has 3 values for 2 convolutions"):
        architecture.convolutions()


def test_the_layers_are_those_that_the_architecture_computes():
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


def test_an_encoder_without_linear_layers_ends_with_the_last_convolution():
    architecture = Architecture((1, 28, 28), [4, 8], [], 3)

    assert Encoder(architecture).features == architecture.flat == 8 * 7 * 7
    assert Autoencoder(architecture)(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


def test_dropout_and_batch_norm_follow_every_layer_but_the_last():
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


def test_images_are_standardised_per_channel_and_back():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 1.0]
    images = torch.rand(2, 3, 8, 8)
    standardised = Standardize(mean, std)(images)

    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(standardised[:, channel], expected)
    torch.testing.assert_close(Unstandardize(mean, std)(standardised), images)


@pytest.mark.parametrize(
    ("output", "standardised", "last"),
    [
        ("sigmoid", False, "Sigmoid"),
        ("sigmoid", True, "Sigmoid"),
        ("linear", False, "Sequential"),
        ("linear", True, "Unstandardize"),
    ],
)
def test_the_decoder_ends_in_the_range_of_images(output, standardised, last):
    statistics = {"mean": [0.2], "std": [0.3]} if standardised else {}
    architecture = Architecture((1, 28, 28), [4, 8], 16, 3, output=output, **statistics)

    assert type(Decoder(architecture)[-1]).__name__ == last
    assert (type(Encoder(architecture)[0]).__name__ == "Standardize") == standardised


def test_parameters_match_the_published_network():
    """The layer listing of the three-convolution network at 16, 32, 64 channels, latent 2."""
    model = Autoencoder(
        Architecture((1, 28, 28), [16, 32, 64], 64, 2, activation="relu", upsampling="transposed")
    )
    encoder = (16 * 9 + 16) + (32 * 16 * 9 + 32) + (64 * 32 * 9 + 64) + (576 * 64 + 64)
    code = 64 * 2 + 2
    decoder = (2 * 64 + 64) + (64 * 576 + 576)
    decoder += (64 * 32 * 9 + 32) + (32 * 16 * 9 + 16) + (16 * 9 + 1)

    assert sum(p.numel() for p in model.parameters()) == encoder + code + decoder


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu", "elu"])
def test_every_weight_gets_a_gradient(activation):
    torch.manual_seed(0)
    model = Autoencoder(Architecture((1, 28, 28), [8, 16, 32], 64, 8, activation=activation))
    images = torch.rand(4, 1, 28, 28)

    model.loss_terms(images, torch.zeros(4))["loss"].backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
