"""A network layer by layer: shapes, parameters, operations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One layer; shapes without the batch, operations per image: multiply and add are two."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    operations: int


def describe_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """The layers in the order in which `example` [1, ...] passes through them.

    Operations are counted by torch: those of convolutions and matrix products.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        leaves[name].register_forward_hook(hook)

    leaves = {name: m for name, m in model.named_modules() if not list(m.children())}
    for name in leaves:
        note(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(example)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    layers = [
        Layer(
            name,
            type(leaves[name]).__name__,
            shape,
            sum(parameter.numel() for parameter in leaves[name].parameters()),
            sum(counts.get(f"{root}.{name}", {}).values()),
        )
        for name, shape in shapes.items()
    ]
    for name, value in model.named_parameters(recurse=False):  # a learned scale, for example
        layers.append(Layer(name, "Parameter", tuple(value.shape), value.numel(), 0))
    return layers
