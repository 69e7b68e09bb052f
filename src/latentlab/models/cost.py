"""A network layer by layer: shapes, parameters, operations."""

import statistics
import time
from collections.abc import Sequence
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


PASSES = 20


def cost_metrics(model: nn.Module, example: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The figures in `names`, for an image `example` [1, C, S, S] in [0, 1].

    "parameters" is their number, "operations" that of multiplications and additions, "latency" the
    median time in milliseconds on the device of the model.
    """
    known = {"parameters": _parameters, "operations": _operations, "latency": _latency}
    return {name: known[name](model, example) for name in names}


def _parameters(model: nn.Module, example: Tensor) -> float:
    return count_parameters(model)


def _operations(model: nn.Module, example: Tensor) -> float:
    return sum(layer.operations for layer in describe_layers(model, example))


def _latency(model: nn.Module, example: Tensor) -> float:
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(PASSES):
            start = time.perf_counter()
            model(example).sum().item()  # waits for a GPU
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def count_parameters(model: nn.Module, trained_only: bool = False) -> int:
    """Number of weights of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained_only)
