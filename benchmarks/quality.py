"""Seconds of training until the test MSE is as good as the reference's after its whole training."""

import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from contenders import CPU, WIDE
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.device import prepare
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.loop import Training

from data import open_ours, open_theirs

TARGET_MSE = 0.0152
OUR_EPOCHS = 5
GIVE_UP = 25.0
"""The reference stops at this many times our seconds; the ratio is then a lower bound."""

REFERENCE = Architecture(
    [1, 28, 28], [8, 16, 32], 64, 8, activation="relu", upsampling="transposed"
)
REFERENCE_BATCH = 300
REFERENCE_RATE = 5e-4


def measure(folder: Path) -> dict[str, float | bool]:
    """Seconds of both, and whether the reference got there."""
    prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
    ours, our_mse = train_ours(folder)
    theirs, their_mse, their_epochs = train_reference(folder, GIVE_UP * ours)
    return {
        "time_to_quality_ratio": theirs / ours,
        "time_to_quality_reached_by_reference": their_mse <= TARGET_MSE,
        "seconds_to_quality": ours,
        "seconds_to_quality_reference": theirs,
        "mse_at_quality": our_mse,
        "mse_at_quality_reference": their_mse,
        "epochs_to_quality_reference": their_epochs,
    }


def train_ours(folder: Path) -> tuple[float, float]:
    """One-cycle AdamW on the wider network: seconds and test MSE at the end."""
    settings = OptimizationParams(
        epochs=OUR_EPOCHS,
        patience=None,
        batch_size=128,
        optimizer="adamw",
        learning_rate=4e-3,
        weight_decay=1e-4,
        schedule="one_cycle",
    )
    images = open_ours(folder)
    torch.manual_seed(0)
    training = Training(Autoencoder(WIDE), settings, images, images.take(torch.arange(1)), 0, CPU)
    start = time.perf_counter()
    for record in training.epochs():
        print(f"ours: epoch {record['epoch']}, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    mse = reconstruction_metrics(training.model.eval(), open_ours(folder, "test"))["mse"]
    if mse > TARGET_MSE:
        raise SystemExit(f"ours reached {mse:.4f} only; {TARGET_MSE} is the target")
    return seconds, mse


def train_reference(folder: Path, most_seconds: float) -> tuple[float, float, int]:
    """The usual notebook: Adam at 5e-4, batch 300, a DataLoader; judged after every epoch.

    Written as the plain loop, which is faster than Lightning. Judging is not counted.
    """
    torch.set_deterministic_debug_mode("default")
    torch.manual_seed(0)
    model = Autoencoder(REFERENCE)
    optimizer = torch.optim.Adam(model.parameters(), lr=REFERENCE_RATE)
    loader = DataLoader(open_theirs(folder), REFERENCE_BATCH, shuffle=True)
    test = open_ours(folder, "test")
    seconds, epochs, mse = 0.0, 0, float("inf")
    while mse > TARGET_MSE and seconds < most_seconds:
        start = time.perf_counter()
        for images, _ in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(images), images).backward()
            optimizer.step()
        seconds += time.perf_counter() - start
        epochs += 1
        mse = reconstruction_metrics(model.eval(), test)["mse"]
        model.train()
        print(f"reference: epoch {epochs}, {seconds:.0f} s, test MSE {mse:.4f}", flush=True)
    return seconds, mse, epochs
