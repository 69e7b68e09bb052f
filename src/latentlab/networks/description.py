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

    leaves = {name: m for name, m in model.named_modules() if not list(m.children())}
    names = {module: name for name, module in leaves.items()}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes[names[module]] = tuple(output.shape[1:])

    hooks = [module.register_forward_hook(note) for module in names]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(example)
    for hook in hooks:
        hook.remove()
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
