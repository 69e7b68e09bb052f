"""Figures of a network that need no images: what it costs to use it."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentlab.networks.description import describe_layers
from latentlab.networks.size import count_parameters

PASSES = 20


def figures_of(model: nn.Module, example: Tensor, names: Sequence[str]) -> dict[str, float]:
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
