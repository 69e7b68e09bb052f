"""Time and memory of an epoch as a function of the number of images on disk."""

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from latentlab.data.image_set import load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.device import prepare
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.loop import Training

from .data import write_repeated

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
NETWORK = Architecture([1, 28, 28], [8, 16, 32], 64, 8, activation="relu")


def measure() -> dict[str, float]:
    """Return seconds per epoch and peak memory in MB, without pages of the image file."""
    results: dict[str, float] = {}
    context = multiprocessing.get_context("spawn")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            write_repeated(Path(folder) / "train", count)
            pipe, other_end = context.Pipe()
            process = context.Process(target=_train, args=(other_end, Path(folder)))
            process.start()
            seconds, megabytes = pipe.recv()
            process.join()
        print(f"{count} images: {seconds:.1f} s, {megabytes:.0f} MB", flush=True)
        results[f"scaling_seconds_{count}"] = seconds
        results[f"scaling_megabytes_{count}"] = megabytes
    return results


def _train(pipe: Connection, folder: Path) -> None:
    device = prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
    settings = OptimizationParams(
        epochs=2,
        patience=None,
        batch_size=256,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
    )
    images = load_split(folder, "train")
    subset = images.take(torch.arange(1000))
    warmup = Training(Autoencoder(NETWORK), settings, subset, subset, 0, device)
    next(warmup.epochs())
    training = Training(Autoencoder(NETWORK), settings, images, subset, 0, device)
    start = time.perf_counter()
    next(training.epochs())
    pipe.send((time.perf_counter() - start, _anonymous_megabytes()))


def _anonymous_megabytes() -> float:
    """Return the memory of this process outside of files; it is the peak, as none is released."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")
