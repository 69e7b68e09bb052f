"""The networks of five published course reports on autoencoders, as configured in `params.yaml`."""

import itertools

import pytest
import torch
from torch import nn

from latentlab.data.image_set import DatasetInfo
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.layers import Decoder, Encoder, Standardize, Unstandardize
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.params.networks import ConvolutionParams, OptimizationParams
from latentlab.training.optimization import Optimization

COURSE = {"kernel": 3, "stride": 2, "padding": [1, 1, 0], "activation": "relu"}
STRIDED = {"kernel": 3, "stride": 2, "padding": 1, "activation": "relu"}
SIXTEENTHS = {"kernel": 4, "stride": 2, "padding": 1, "activation": "relu"}
UNBOUNDED = {"normalize": True, "output": "linear"}

AUTOENCODERS = {
    # random search with latent dimensions 2 to 4: the best network and the limits of the ranges
    "random search": COURSE | {"channels": [8, 17, 32], "hidden": 69, "latent_dim": 4},
    "random search, smallest": COURSE | {"channels": [8, 15, 25], "hidden": 60, "latent_dim": 2},
    "random search, largest": COURSE | {"channels": [10, 20, 35], "hidden": 80, "latent_dim": 4},
    # comparison of optimizers: three layers, widths from a search, four layers
    "three layers": COURSE | UNBOUNDED | {"channels": [16, 32, 64], "hidden": 64, "latent_dim": 2},
    "three layers, latent 10": COURSE
    | UNBOUNDED
    | {"channels": [16, 32, 64], "hidden": 64, "latent_dim": 10},
    "three layers, width search": COURSE
    | UNBOUNDED
    | {"channels": [12, 24, 48], "hidden": 128, "latent_dim": 2},
    "denoiser": COURSE | UNBOUNDED | {"channels": [12, 24, 48], "hidden": 128, "latent_dim": 3},
    "four layers, smallest": COURSE
    | UNBOUNDED
    | {"channels": [8, 16, 32, 32], "padding": "auto", "hidden": 64, "latent_dim": 2},
    "four layers, largest": COURSE
    | UNBOUNDED
    | {"channels": [20, 32, 64, 64], "padding": [1, 1, 1, 1], "hidden": 128, "latent_dim": 2},
    # comparison of regularization, latent dimensions 2 to 14
    "two linear layers": STRIDED | {"channels": [4, 8, 16], "hidden": 64, "latent_dim": 8},
    "latent 14": STRIDED | {"channels": [4, 8, 16], "hidden": 64, "latent_dim": 14},
    "with dropout": STRIDED
    | {"channels": [4, 8, 16], "hidden": 64, "latent_dim": 8, "dropout": 0.2},
    # L1 and L2, kernel densities
    "latent 2": COURSE | {"channels": [8, 16, 32], "hidden": 64, "latent_dim": 2},
    "latent 8": COURSE | {"channels": [8, 16, 32], "hidden": 64, "latent_dim": 8},
    # dropout and corruption
    "latent 4, dropout 0.5": COURSE
    | {"channels": [8, 16, 32], "hidden": 64, "latent_dim": 4, "dropout": 0.5},
    "latent 6, dropout 0.15": COURSE
    | {"channels": [8, 16, 32], "hidden": 64, "latent_dim": 6, "dropout": 0.15},
}
VAES = {
    "random search, VAE": COURSE | {"channels": [8, 17, 32], "hidden": 69, "latent_dim": 4},
    "width search, VAE": COURSE | {"channels": [12, 24, 48], "hidden": 128, "latent_dim": 2},
    "width search, VAE, latent 3": COURSE
    | {"channels": [12, 24, 48], "hidden": 128, "latent_dim": 3},
    "two convolutions, VAE, latent 5": SIXTEENTHS
    | {"channels": [8, 16], "hidden": [], "latent_dim": 5},
    "two convolutions, VAE, latent 2": SIXTEENTHS
    | {"channels": [8, 16], "hidden": [], "latent_dim": 2},
    "learned scale, VAE": COURSE | {"channels": [8, 16, 32], "hidden": [64, 16], "latent_dim": 8},
}
HEADS = {
    # autoencoder: widths between latent code and logits, whether the encoder is frozen
    "random search": ([30, 60], True),
    "three layers, width search": ([], False),
    "two linear layers": ([64, 288], True),
    "latent 14": ([], True),
    "latent 8": ([126], True),
}
SIZES = [(1, 28), (3, 32), (1, 64)]
UPSAMPLING = ["transposed", "subpixel"]


def info(depth=1, size=28):
    return DatasetInfo(
        name="random",
        classes=["one", "other"],
        image_shape=[depth, size, size],
        sizes={"train": 10},
        mean=[0.2860, 0.4, 0.5][:depth],
        std=[0.3530, 0.2, 0.1][:depth],
        sha256={},
        digest="",
    )


def architecture(upsampling="transposed", depth=1, size=28, **entry):
    defaults = {"hidden": 16, "latent_dim": 4, "activation": "relu"}
    params = ConvolutionParams(**defaults | entry | {"upsampling": upsampling})
    return Architecture.of(params, info(depth, size))


def images(depth=1, size=28, count=4):
    return torch.rand(count, depth, size, size, generator=torch.Generator().manual_seed(0))


def take_step(model, batch):
    """Take one training step and check that it changed every trainable parameter."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    settings = OptimizationParams(
        epochs=1,
        patience=None,
        batch_size=4,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
    )
    optimization = Optimization(settings, model.train(), 1)
    labels = torch.arange(len(batch)) % 2
    terms = model.loss_terms(batch, labels)
    terms["loss"].backward()
    optimization.step()
    assert terms["loss"].isfinite()
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
        assert value.requires_grad != torch.equal(value, before[name]), name


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_every_autoencoder_trains_and_preserves_the_image_size(name):
    for upsampling, (depth, size) in itertools.product(UPSAMPLING, SIZES):
        torch.manual_seed(0)
        model = Autoencoder(architecture(upsampling, depth, size, **AUTOENCODERS[name]))
        batch = images(depth, size)

        assert model(batch).shape == batch.shape
        assert model.encode(batch).shape == (4, AUTOENCODERS[name]["latent_dim"])
        take_step(model, batch)


@pytest.mark.parametrize("name", VAES)
def test_every_vae_trains_and_preserves_the_image_size(name):
    likelihoods = itertools.cycle(["gaussian", "squared_error"])
    for upsampling, (depth, size) in itertools.product(UPSAMPLING, SIZES):
        torch.manual_seed(0)
        model = Vae(architecture(upsampling, depth, size, **VAES[name]), next(likelihoods))
        batch = images(depth, size)

        assert model(batch).shape == batch.shape
        take_step(model, batch)


def test_every_classification_head_trains_on_its_encoder():
    for name, (head, frozen) in HEADS.items():
        torch.manual_seed(0)
        autoencoder = Autoencoder(architecture(**AUTOENCODERS[name]))
        model = Classifier.from_autoencoder(autoencoder, head, 10, freeze_encoder=frozen)

        assert model(images()).shape == (4, 10)
        take_step(model, images())


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_the_limits_of_the_search_space_train_or_are_rejected(layers):
    """Kernels 2 to 6, strides 1 to 4, paddings to half a kernel, zero to two hidden layers."""
    limits = itertools.product((2, 6), (1, 4), (False, True), ([], [16], [16, 8]), UPSAMPLING)
    outcomes = set()
    for kernel, stride, padded, hidden, upsampling in limits:
        made = architecture(
            upsampling,
            activation="elu",
            channels=[4, 8, 16, 32][:layers],
            kernel=kernel,
            stride=stride,
            padding=kernel // 2 * padded,
            hidden=hidden,
        )
        try:
            made.convolutions()
        except ValueError:
            with pytest.raises(ValueError, match=r"at convolution [1-4] of"):
                Autoencoder(made)
            outcomes.add("rejected")
            continue
        torch.manual_seed(0)
        model = Autoencoder(made)
        assert model(images()).shape == (4, 1, 28, 28)
        take_step(model, images())
        outcomes.add("trained")

    assert "trained" in outcomes
    assert ("rejected" in outcomes) == (layers > 2)


MIXED = [
    {"channels": [4, 8], "kernel": [6, 2], "stride": [4, 1], "padding": [3, 0]},
    {"channels": [4, 7, 16], "kernel": [2, 6, 3], "stride": [1, 4, 2], "padding": [1, 3, 0]},
    {"channels": [4, 5, 9, 30], "kernel": [5, 4, 3, 2], "stride": [2, 1, 3, 1], "padding": 1},
    {"channels": [5], "kernel": 2, "stride": 4, "padding": 1},
    {"channels": [5, 6], "kernel": [1, 11], "stride": [3, 2], "padding": [0, 5]},
]


@pytest.mark.parametrize("entry", MIXED)
def test_kernel_stride_and_padding_may_differ_between_layers(entry):
    for upsampling, (depth, size) in itertools.product(UPSAMPLING, SIZES):
        torch.manual_seed(0)
        model = Autoencoder(architecture(upsampling, depth, size, **entry | {"activation": "silu"}))

        assert model(images(depth, size)).shape == (4, depth, size, size)
        take_step(model, images(depth, size))


def geometry(layer):
    return layer.kernel_size, layer.stride, layer.padding, layer.output_padding


def convolutional(network):
    """Return (inputs, outputs, kernel, stride, padding, output padding) of all convolutions."""
    return [
        (m.in_channels, m.out_channels, *(each[0] for each in geometry(m)))
        for m in network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]


def linear(network):
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def test_the_layers_are_those_of_the_published_network():
    model = Autoencoder(architecture(**AUTOENCODERS["three layers"]))

    assert convolutional(model.encoder) == [
        (1, 16, 3, 2, 1, 0),
        (16, 32, 3, 2, 1, 0),
        (32, 64, 3, 2, 0, 0),
    ]
    assert linear(model) == [(576, 64), (64, 2), (2, 64), (64, 576)]
    assert convolutional(model.decoder) == [
        (64, 32, 3, 2, 0, 0),
        (32, 16, 3, 2, 1, 1),
        (16, 1, 3, 2, 1, 1),
    ]
    kinds = [type(layer).__name__ for layer in model.decoder]
    assert kinds == [
        *("Linear", "ReLU", "Linear", "ReLU", "Unflatten"),
        *("ConvTranspose2d", "ReLU") * 2,
        *("ConvTranspose2d", "Unstandardize"),
    ]


def published_parameters():
    """Sums of weights and biases: convolutions, linear layers, code, and the mirrored decoder."""
    return {
        "random search": (8 * 1 * 9 + 8) + (17 * 8 * 9 + 17) + (32 * 17 * 9 + 32)
        + (288 * 69 + 69) + (69 * 4 + 4) + (4 * 69 + 69) + (69 * 288 + 288)
        + (32 * 17 * 9 + 17) + (17 * 8 * 9 + 8) + (8 * 1 * 9 + 1),
        "three layers": (16 * 1 * 9 + 16) + (32 * 16 * 9 + 32) + (64 * 32 * 9 + 64)
        + (576 * 64 + 64) + (64 * 2 + 2) + (2 * 64 + 64) + (64 * 576 + 576)
        + (64 * 32 * 9 + 32) + (32 * 16 * 9 + 16) + (16 * 1 * 9 + 1),
        "three layers, width search": (12 * 1 * 9 + 12) + (24 * 12 * 9 + 24) + (48 * 24 * 9 + 48)
        + (432 * 128 + 128) + (128 * 2 + 2) + (2 * 128 + 128) + (128 * 432 + 432)
        + (48 * 24 * 9 + 24) + (24 * 12 * 9 + 12) + (12 * 1 * 9 + 1),
        "two linear layers": (4 * 1 * 9 + 4) + (8 * 4 * 9 + 8) + (16 * 8 * 9 + 16)
        + (256 * 64 + 64) + (64 * 8 + 8) + (8 * 64 + 64) + (64 * 256 + 256)
        + (16 * 8 * 9 + 8) + (8 * 4 * 9 + 4) + (4 * 1 * 9 + 1),
        "latent 8": (8 * 1 * 9 + 8) + (16 * 8 * 9 + 16) + (32 * 16 * 9 + 32)
        + (288 * 64 + 64) + (64 * 8 + 8) + (8 * 64 + 64) + (64 * 288 + 288)
        + (32 * 16 * 9 + 16) + (16 * 8 * 9 + 8) + (8 * 1 * 9 + 1),
    }  # fmt: skip


def test_parameter_counts_are_those_of_the_published_networks():
    for name, count in published_parameters().items():
        model = Autoencoder(architecture(**AUTOENCODERS[name]))

        assert sum(parameter.numel() for parameter in model.parameters()) == count, name


def test_the_parameter_count_is_that_of_the_published_vae():
    """Mean and log-variance follow two convolutions directly; the scale is not learned."""
    model = Vae(architecture(**VAES["two convolutions, VAE, latent 5"]), "squared_error")
    encoder = (8 * 1 * 16 + 8) + (16 * 8 * 16 + 16) + 2 * (784 * 5 + 5)
    decoder = (5 * 784 + 784) + (16 * 8 * 16 + 8) + (8 * 1 * 16 + 1)

    assert sum(parameter.numel() for parameter in model.parameters()) == encoder + decoder


@pytest.mark.parametrize(
    ("size", "entry", "place"),
    [
        (8, {"channels": [4] * 3, "padding": 0}, "convolution 3 of 3: 1 pixel left"),
        (28, {"channels": [4] * 5, "padding": "auto"}, "convolution 5 of 5: 1 pixel left"),
        (8, {"channels": [4], "kernel": 11, "padding": 0}, "convolution 1 of 1: 8 pixels"),
        (28, {"channels": [4] * 4, "kernel": 6, "stride": 4, "padding": 0}, "convolution 3 of 4"),
    ],
)
def test_the_error_for_an_impossible_geometry_names_the_layer(size, entry, place):
    with pytest.raises(ValueError, match=f"at {place}"):
        Autoencoder(architecture(size=size, **entry))


def test_a_list_of_the_wrong_length_is_rejected():
    for name, count in itertools.product(("kernel", "stride", "padding"), (1, 2, 4)):
        with pytest.raises(ValueError, match=f"{name} has {count} values for 3 convolutions"):
            Autoencoder(architecture(channels=[4, 8, 16], **{name: [2] * count}))


def test_unstandardizing_inverts_standardizing():
    mean, std = [0.286, 0.5, 0.1], [0.353, 0.2, 1e-3]
    batch = images(3)
    standardized = Standardize(mean, std)(batch)
    expected = (batch - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    assert torch.equal(standardized, expected)
    torch.testing.assert_close(Unstandardize(mean, std)(standardized), batch)


def test_the_input_is_standardized_but_the_loss_is_in_the_scale_of_pixels():
    model = Autoencoder(architecture(channels=[4, 8], normalize=True, output="linear"))
    inputs_seen = []
    next(m for m in model.encoder if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda module, inputs, output: inputs_seen.append(inputs[0])
    )
    batch = images()

    terms = model.loss_terms(batch, torch.zeros(4))

    assert torch.equal(inputs_seen[0], (batch - 0.2860) / 0.3530)
    expected = (model(batch) - batch).square().mean()
    torch.testing.assert_close(terms["mse"], expected)


def test_a_zero_linear_output_is_the_mean_image():
    """Its MSE to the images is in the scale of pixels in [0, 1]."""
    model = Autoencoder(architecture(channels=[4, 8], normalize=True, output="linear"))
    for parameter in model.decoder.parameters():
        nn.init.zeros_(parameter)
    batch = images()

    terms = model.loss_terms(batch, torch.zeros(4))

    torch.testing.assert_close(terms["mse"], (batch - 0.2860).square().mean())
    assert 0 <= terms["mse"] <= 1


def test_a_sigmoid_output_is_between_0_and_1():
    for normalize in (False, True):
        model = Autoencoder(architecture(channels=[4, 8], normalize=normalize))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(50)
        outputs = model(images())

        assert outputs.min() >= 0
        assert outputs.max() <= 1
        assert 0 <= model.loss_terms(images(), torch.zeros(4))["mse"] <= 1


def test_a_constant_channel_is_not_divided_by_zero():
    params = ConvolutionParams(
        channels=[4], hidden=8, latent_dim=2, activation="relu", upsampling="subpixel",
        normalize=True,
    )  # fmt: skip
    constant = DatasetInfo("c", ["a"], [1, 8, 8], {}, mean=[0.0], std=[0.0], sha256={}, digest="")

    assert Autoencoder(Architecture.of(params, constant))(images(1, 8)).isfinite().all()


@pytest.mark.parametrize(
    ("activation", "dropout", "batch_norm"),
    [
        ("relu", 0.0, False),
        ("leaky_relu", 0.3, False),
        ("silu", 0.0, True),
        ("gelu", 0.3, True),
        ("elu", 0.3, False),
    ],
)
def test_every_activation_trains_with_dropout_and_batch_norm(activation, dropout, batch_norm):
    torch.manual_seed(0)
    entry = {"channels": [4, 8], "hidden": [16, 8], "activation": activation}
    model = Autoencoder(architecture(**entry, dropout=dropout, batch_norm=batch_norm))
    kinds = {type(layer).__name__ for layer in model.modules()}

    assert ("Dropout" in kinds) == bool(dropout)
    assert {"BatchNorm1d", "BatchNorm2d"} & kinds == (
        {"BatchNorm1d", "BatchNorm2d"} if batch_norm else set()
    )
    model.train().loss_terms(images(), torch.zeros(4))["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_neither_norm_nor_activation_nor_dropout_follow_the_code_and_the_image():
    made = architecture(channels=[4, 8], dropout=0.3, batch_norm=True)
    last = [type(layer).__name__ for layer in Decoder(made)][-2:]

    assert last == ["ConvTranspose2d", "Sigmoid"]
    assert type(Autoencoder(made).to_code) is nn.Linear


def test_every_autoencoder_can_be_rebuilt_from_its_config():
    for entry in AUTOENCODERS.values():
        made = architecture(**entry)
        rebuilt = Autoencoder.from_config(Autoencoder(made).config)

        rebuilt.load_state_dict(Autoencoder(made).state_dict())
        assert rebuilt.architecture == made
        assert Encoder(made).features == made.widths[-1]
