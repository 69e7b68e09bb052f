import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import cost_metrics, count_parameters, describe_layers
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    """An autoencoder whose layers reduce 28 pixels to 14, 7 and 3."""
    return Autoencoder(
        Architecture(SHAPE, [4, 6, 8], 16, 2, upsampling="transposed", batch_norm=True)
    )


@pytest.fixture(scope="module")
def layers(model):
    return describe_layers(model, torch.rand(1, *SHAPE))


def of_kind(layers, *kinds):
    return [layer for layer in layers if layer.kind in kinds]


def test_layers_are_listed_in_the_order_of_the_forward_pass(layers):
    norm, code = ["BatchNorm2d", "SiLU"], ["BatchNorm1d", "SiLU"]

    assert [layer.kind for layer in layers] == [
        *(["Conv2d", *norm] * 3),
        *("Flatten", "Linear", *code),
        *("Linear", "Linear", *code, "Linear", *code, "Unflatten"),
        *(["ConvTranspose2d", *norm] * 2),
        *("ConvTranspose2d", "Sigmoid"),
    ]


def test_output_shapes_exclude_the_batch_dimension(layers):
    shapes = [layer.output_shape for layer in of_kind(layers, "Conv2d", "ConvTranspose2d")]

    assert shapes == [(4, 14, 14), (6, 7, 7), (8, 3, 3), (6, 7, 7), (4, 14, 14), (1, 28, 28)]
    assert [layer.output_shape for layer in of_kind(layers, "Linear")] == [
        (16,),
        (2,),
        (16,),
        (72,),
    ]


def test_operations_count_multiplications_and_additions(layers):
    """A convolution multiplies at every output pixel, a transposed one at every input pixel."""
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


def test_parameters_count_weights_and_biases(layers):
    assert [layer.parameters for layer in of_kind(layers, "Conv2d")] == [40, 222, 440]
    assert [layer.parameters for layer in of_kind(layers, "BatchNorm2d")] == [8, 12, 16, 12, 8]


def test_the_parameters_of_the_layers_add_up_to_those_of_the_network():
    for upsampling in ("transposed", "subpixel"):
        model = Autoencoder(Architecture(SHAPE, [4, 8], [16, 8], 2, upsampling=upsampling))
        layers = describe_layers(model, torch.rand(1, *SHAPE))

        assert sum(layer.parameters for layer in layers) == count_parameters(model)


def test_the_learned_scale_of_a_vae_is_listed_last():
    model = Vae(Architecture(SHAPE, [4, 8], 16, 2), "gaussian")
    layers = describe_layers(model, torch.rand(1, *SHAPE))

    assert sum(layer.parameters for layer in layers) == count_parameters(model)
    assert (layers[-1].kind, layers[-1].name) == ("Parameter", "log_scale")
    assert not any(layer.operations for layer in of_kind(layers, "Parameter"))


def test_names_are_those_of_the_submodules(model, layers):
    assert all(type(model.get_submodule(each.name)).__name__ == each.kind for each in layers)


def test_dropout_has_neither_operations_nor_parameters():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))

    linear, dropout = describe_layers(model, torch.rand(1, 4))

    assert (linear.operations, linear.parameters) == (2 * 4 * 3, 15)
    assert (dropout.operations, dropout.parameters) == (0, 0)


def test_cost_metrics_are_computed_by_name():
    model, example = nn.Sequential(nn.Linear(4, 3)), torch.rand(1, 4)
    model[0].bias.requires_grad_(False)

    metrics = cost_metrics(model, example, ["latency", "operations", "parameters"])

    assert metrics.pop("latency") > 0
    assert metrics == {"operations": 24, "parameters": 15}
    assert count_parameters(model, trained_only=True) == 12
    assert cost_metrics(model, example, []) == {}


def test_a_slower_network_has_a_longer_latency():
    slow, fast = (nn.Sequential(*[nn.Linear(256, 256)] * count) for count in (60, 1))
    example = torch.rand(64, 256)

    latency = [cost_metrics(each, example, ["latency"])["latency"] for each in (slow, fast)]

    assert latency[0] > 5 * latency[1]
