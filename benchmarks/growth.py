"""Seconds and memory of an epoch against the number of images on disk."""

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from contenders import CPU, SMALL
from latentlab.data.image_set import load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.device import prepare
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.loop import Training

from data import write_repeated

COUNTS = (1_000, 10_000, 100_000, 1_000_000)


def measure() -> dict[str, float]:
    """Seconds per epoch, and peak anonymous memory in MB: pages of the file can be dropped."""
    results: dict[str, float] = {}
    context = multiprocessing.get_context("spawn")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            write_repeated(Path(folder) / "train", count)
            ours, theirs = context.Pipe()
            process = context.Process(target=_train, args=(theirs, Path(folder)))
            process.start()
            seconds, megabytes = ours.recv()
            process.join()
        print(f"{count} images: {seconds:.1f} s, {megabytes:.0f} MB", flush=True)
        results[f"growth_seconds_{count}"] = seconds
        results[f"growth_megabytes_{count}"] = megabytes
    return results


def _train(pipe: Connection, folder: Path) -> None:
    prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
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
    few = images.take(torch.arange(1000))  # the first epoch warms up
    epochs = Training(Autoencoder(SMALL), settings, few, few, 0, CPU).epochs()
    next(epochs)
    training = Training(Autoencoder(SMALL), settings, images, few, 0, CPU)
    start = time.perf_counter()
    next(training.epochs())
    pipe.send((time.perf_counter() - start, _anonymous_megabytes()))


def _anonymous_megabytes() -> float:
    """Memory of this process that is in no file; freed memory is kept, so this is the peak."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")
