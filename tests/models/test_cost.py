import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import describe_layers
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    """28 pixels to 14, to 7, to 3, and back."""
    return Autoencoder(
        Architecture(SHAPE, [4, 6, 8], 16, 2, upsampling="transposed", batch_norm=True)
    )


@pytest.fixture(scope="module")
def layers(model):
    return describe_layers(model, torch.rand(1, *SHAPE))


def of_kind(layers, *kinds):
    return [layer for layer in layers if layer.kind in kinds]


def test_the_layers_are_in_the_order_in_which_an_image_passes_them(layers):
    norm, code = ["BatchNorm2d", "SiLU"], ["BatchNorm1d", "SiLU"]

    assert [layer.kind for layer in layers] == [
        *(["Conv2d", *norm] * 3),
        *("Flatten", "Linear", *code),
        *("Linear", "Linear", *code, "Linear", *code, "Unflatten"),
        *(["ConvTranspose2d", *norm] * 2),
        *("ConvTranspose2d", "Sigmoid"),
    ]


def test_shapes_are_without_the_batch(layers):
    shapes = [layer.output_shape for layer in of_kind(layers, "Conv2d", "ConvTranspose2d")]

    assert shapes == [(4, 14, 14), (6, 7, 7), (8, 3, 3), (6, 7, 7), (4, 14, 14), (1, 28, 28)]
    assert [layer.output_shape for layer in of_kind(layers, "Linear")] == [
        (16,),
        (2,),
        (16,),
        (72,),
    ]


def test_the_operations_of_a_layer_are_its_multiply_adds_times_two(layers):
    """A convolution multiplies at every pixel it makes, a transposed one at every it reads."""
    assert [layer.operations for layer in of_kind(layers, "Conv2d")] == [
        2 * (14 * 14) * (4 * 1 * 9),
        2 * (7 * 7) * (6 * 4 * 9),
        2 * (3 * 3) * (8 * 6 * 9),
    ]
    assert [layer.operations for layer in of_kind(layers, "Linear")] == [
        2 * 72 * 16,
        2 * 16 * 2,
        2 * 2 * 16,
        2 * 16 * 72,
    ]
    assert [layer.operations for layer in of_kind(layers, "ConvTranspose2d")] == [
        2 * (3 * 3) * (8 * 6 * 9),
        2 * (7 * 7) * (6 * 4 * 9),
        2 * (14 * 14) * (4 * 1 * 9),
    ]
    assert not any(layer.operations for layer in of_kind(layers, "SiLU", "Flatten", "Sigmoid"))


def test_the_parameters_of_a_layer_are_its_weights_and_biases(layers):
    assert [layer.parameters for layer in of_kind(layers, "Conv2d")] == [40, 222, 440]
    assert [layer.parameters for layer in of_kind(layers, "BatchNorm2d")] == [8, 12, 16, 12, 8]


@pytest.mark.parametrize("upsampling", ["transposed", "subpixel"])
def test_parameters_sum_to_those_of_the_network(upsampling):
    model = Autoencoder(Architecture(SHAPE, [4, 8], [16, 8], 2, upsampling=upsampling))
    layers = describe_layers(model, torch.rand(1, *SHAPE))

    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())


def test_the_learned_scale_of_a_vae_is_counted():
    model = Vae(Architecture(SHAPE, [4, 8], 16, 2), "gaussian")
    layers = describe_layers(model, torch.rand(1, *SHAPE))

    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    assert not any(layer.operations for layer in of_kind(layers, "Parameter"))


def test_names_lead_to_the_layers(model, layers):
    assert all(type(model.get_submodule(each.name)).__name__ == each.kind for each in layers)


def test_operations_are_per_image_and_dropout_has_none():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))

    linear, dropout = describe_layers(model, torch.rand(1, 4))

    assert (linear.operations, linear.parameters) == (2 * 4 * 3, 15)
    assert (dropout.operations, dropout.parameters) == (0, 0)
