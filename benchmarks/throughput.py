"""Seconds per training epoch: latentlab, Lightning, a plain torch loop, pythae, matrix products."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from contenders import SMALL, WIDE, make_latentlab, make_lightning, make_pythae, make_torch
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import describe_layers
from latentlab.params.geometry import Architecture
from turns import Epoch, take_turns

GEMM_SIZE = 1536
GEMM_SECONDS = 1.5
IMAGES = 60_000


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Medians of the seconds, and of the ratios to latentlab within each round."""
    seconds = take_turns(
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
    rivals = {"": ("lightning", "torch"), "_lightning": ("lightning",), "_torch": ("torch",)}
    for name, against in rivals.items():
        ratios = list(ratios_by_round(seconds, "latentlab", against))
        results |= spread(f"throughput_ratio{name}", ratios)
    results |= spread(
        "pythae_epoch_ratio", list(ratios_by_round(seconds, "latentlab_vae", ("pythae",)))
    )
    rate = 2 * GEMM_SIZE**3 / statistics.median(seconds["gemm"])
    results["gemm_gflops"] = rate / 1e9
    for name, own, architecture in (
        ("gemm_share_small", "latentlab", SMALL),
        ("gemm_share_wide", "latentlab_wide", WIDE),
    ):
        reached = IMAGES * training_operations(architecture) / statistics.median(seconds[own])
        results[name] = reached / rate
    return results | {f"seconds_{name}": statistics.median(s) for name, s in seconds.items()}


def make_gemm() -> Epoch:
    """Seconds of one product of square float32 matrices on every core: the best of many."""
    first, second = torch.rand(2, GEMM_SIZE, GEMM_SIZE)

    def product() -> float:
        best, end = float("inf"), time.perf_counter() + GEMM_SECONDS
        while (start := time.perf_counter()) < end:
            torch.mm(first, second)
            best = min(best, time.perf_counter() - start)
        return best

    return product


def training_operations(architecture: Architecture) -> int:
    """Of one image: forward, and twice that backward, but for the images' own gradient."""
    layers = describe_layers(Autoencoder(architecture), torch.zeros(1, *architecture.image_shape))
    return 3 * sum(layer.operations for layer in layers) - layers[0].operations


def spread(name: str, ratios: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        name: statistics.median(ratios),
        f"{name}_min": min(ratios),
        f"{name}_max": max(ratios),
    }


def ratios_by_round(
    seconds: dict[str, list[float]], own: str, rivals: tuple[str, ...]
) -> Iterator[float]:
    """Seconds of the fastest rival over our own, round by round."""
    chosen = [each for name, each in seconds.items() if name.startswith(rivals)]
    for ours, *others in zip(seconds[own], *chosen, strict=True):
        yield min(others) / ours
