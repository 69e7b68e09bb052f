"""Seconds per training epoch: latentlab, Lightning, a plain torch loop, pythae, matrix products."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import describe_layers
from latentlab.params.geometry import Architecture

from .baselines import SMALL, WIDE, make_latentlab, make_lightning, make_pythae, make_torch
from .interleaving import Epoch, measure_interleaved

GEMM_SIZE = 1536
GEMM_SECONDS = 1.5
IMAGES = 60_000


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Return median seconds per epoch, and ratios to latentlab within each round."""
    seconds = measure_interleaved(
        {
            "gemm": (make_gemm, ()),
            "latentlab": (make_latentlab, (folder, SMALL)),
            "latentlab_wide": (make_latentlab, (folder, WIDE)),
            "lightning_workers_0": (make_lightning, (folder, 0)),
            "lightning_workers_2": (make_lightning, (folder, 2)),
            "torch_workers_0": (make_torch, (folder, 0)),
            "torch_workers_2": (make_torch, (folder, 2)),
            "latentlab_vae": (make_latentlab, (folder, SMALL, True)),
            "pythae": (make_pythae, (folder,)),
        },
        rounds,
    )
    results: dict[str, float] = {}
    baselines = {"": ("lightning", "torch"), "_lightning": ("lightning",), "_torch": ("torch",)}
    for name, prefixes in baselines.items():
        ratios = list(ratios_by_round(seconds, "latentlab", prefixes))
        results |= spread(f"throughput_ratio{name}", ratios)
    results |= spread(
        "pythae_epoch_ratio", list(ratios_by_round(seconds, "latentlab_vae", ("pythae",)))
    )
    rate = 2 * GEMM_SIZE**3 / statistics.median(seconds["gemm"])
    results["gemm_gflops"] = rate / 1e9
    for name, method, architecture in (
        ("gemm_share_small", "latentlab", SMALL),
        ("gemm_share_wide", "latentlab_wide", WIDE),
    ):
        operations = IMAGES * training_operations(architecture)
        results[name] = operations / statistics.median(seconds[method]) / rate
    return results | {f"seconds_{name}": statistics.median(s) for name, s in seconds.items()}


def make_gemm() -> Epoch:
    """Measure the product of square float32 matrices on all cores: the fastest of many."""
    first, second = torch.rand(2, GEMM_SIZE, GEMM_SIZE)

    def product() -> float:
        best, end = float("inf"), time.perf_counter() + GEMM_SECONDS
        while (start := time.perf_counter()) < end:
            torch.mm(first, second)
            best = min(best, time.perf_counter() - start)
        return best

    return product


def training_operations(architecture: Architecture) -> int:
    """Return the operations of a training step per image.

    The backward pass has twice those of the forward pass, except the gradient of the images.
    """
    layers = describe_layers(Autoencoder(architecture), torch.zeros(1, *architecture.image_shape))
    return 3 * sum(layer.operations for layer in layers) - layers[0].operations


def spread(name: str, ratios: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {
        name: statistics.median(ratios),
        f"{name}_min": min(ratios),
        f"{name}_max": max(ratios),
    }


def ratios_by_round(
    seconds: dict[str, list[float]], method: str, prefixes: tuple[str, ...]
) -> Iterator[float]:
    """Yield the seconds of the fastest baseline relative to `method`, for each round."""
    baselines = [each for name, each in seconds.items() if name.startswith(prefixes)]
    for ours, *others in zip(seconds[method], *baselines, strict=True):
        yield min(others) / ours
