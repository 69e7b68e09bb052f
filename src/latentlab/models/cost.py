"""The cost of using a network: parameters, operations and latency, in total and per layer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MIN_SECONDS = 0.1
"""How long the latency of a network is measured at least."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    `kind` is the name of its class, `output_shape` excludes the batch dimension, and `operations`
    are per image, where a multiplication and an addition count as two.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    operations: int


def describe_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """Return the layers in the order in which `example` [1, ...] passes through them.

    Parameters that belong to the model itself, such as a learned scale, come last. Operations are
    counted by torch's FlopCounterMode, which includes convolutions and matrix products only.
    """
    from torch.utils.flop_counter import FlopCounterMode

    leaves = {name: m for name, m in model.named_modules() if not list(m.children())}
    names = {module: name for name, module in leaves.items()}
    shapes: dict[str, tuple[int, ...]] = {}

    def record_shape(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes[names[module]] = tuple(output.shape[1:])

    hooks = [module.register_forward_hook(record_shape) for module in names]
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
            count_parameters(leaves[name]),
            sum(counts.get(f"{root}.{name}", {}).values()),
        )
        for name, shape in shapes.items()
    ]
    for name, value in model.named_parameters(recurse=False):
        layers.append(Layer(name, "Parameter", tuple(value.shape), value.numel(), 0))
    return layers


def cost_metrics(model: nn.Module, example: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics in `names` for an image `example` [1, C, S, S] in [0, 1].

    "parameters" is their number, "operations" the number of multiplications and additions, and
    "latency" the median time of a forward pass in milliseconds on the device of the model.
    """
    metrics = {"parameters": _parameters, "operations": _operations, "latency": _latency}
    return {name: metrics[name](model, example) for name in names}


def count_parameters(model: nn.Module, trained_only: bool = False) -> int:
    """Return the number of parameters of a network, or of those with `requires_grad` only."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained_only)


def _parameters(model: nn.Module, example: Tensor) -> float:
    return count_parameters(model)


def _operations(model: nn.Module, example: Tensor) -> float:
    return sum(layer.operations for layer in describe_layers(model, example))


def _latency(model: nn.Module, example: Tensor) -> float:
    # importing the benchmark tools would warn about CUDA tools that are not needed here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    with torch.inference_mode():
        timer = Timer(
            "model(example)",
            globals={"model": model.eval(), "example": example},
            num_threads=torch.get_num_threads(),
        )
        return timer.blocked_autorange(min_run_time=MIN_SECONDS).median * 1e3
