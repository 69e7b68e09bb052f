"""Training time to a target test MSE, compared with a reference training."""

import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.device import prepare
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.loop import Training

from .data import open_images, open_torchvision

TARGET_MSE = 0.0152
EPOCHS = 5
MAX_RATIO = 25.0
"""The reference is stopped at this many times our seconds; the ratio is then a lower bound."""

NETWORK = Architecture([1, 28, 28], [16, 32, 64], 128, 8)

REFERENCE = Architecture(
    [1, 28, 28], [8, 16, 32], 64, 8, activation="relu", upsampling="transposed"
)
REFERENCE_BATCH = 300
REFERENCE_RATE = 5e-4


def measure(folder: Path) -> dict[str, float | bool]:
    """Return the seconds of both trainings, and whether the reference reached the target."""
    device = prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
    seconds, mse = train_latentlab(folder, device)
    reference_seconds, reference_mse, reference_epochs = train_reference(
        folder, MAX_RATIO * seconds
    )
    return {
        "time_to_quality_ratio": reference_seconds / seconds,
        "time_to_quality_reached_by_reference": reference_mse <= TARGET_MSE,
        "seconds_to_quality": seconds,
        "seconds_to_quality_reference": reference_seconds,
        "mse_at_quality": mse,
        "mse_at_quality_reference": reference_mse,
        "epochs_to_quality_reference": reference_epochs,
    }


def train_latentlab(folder: Path, device: torch.device) -> tuple[float, float]:
    """Train the wide network with one-cycle AdamW; return the seconds and the test MSE."""
    settings = OptimizationParams(
        epochs=EPOCHS,
        patience=None,
        batch_size=128,
        optimizer="adamw",
        learning_rate=4e-3,
        weight_decay=1e-4,
        schedule="one_cycle",
    )
    images = open_images(folder)
    torch.manual_seed(0)
    one_image = images.take(torch.arange(1))
    training = Training(Autoencoder(NETWORK), settings, images, one_image, 0, device)
    start = time.perf_counter()
    for record in training.epochs():
        print(
            f"latentlab: epoch {record['epoch']}, {time.perf_counter() - start:.0f} s", flush=True
        )
    seconds = time.perf_counter() - start
    mse = reconstruction_metrics(training.model.eval(), open_images(folder, "test"))["mse"]
    if mse > TARGET_MSE:
        raise SystemExit(f"latentlab reached test MSE {mse:.4f}; the target is {TARGET_MSE}")
    return seconds, mse


def train_reference(folder: Path, max_seconds: float) -> tuple[float, float, int]:
    """Train like a typical notebook: Adam at 5e-4, batches of 300 from a DataLoader.

    Return the seconds without evaluation, the test MSE and the number of epochs. A plain loop is
    used because it is faster than Lightning.
    """
    torch.set_deterministic_debug_mode("default")
    torch.manual_seed(0)
    model = Autoencoder(REFERENCE)
    optimizer = torch.optim.Adam(model.parameters(), lr=REFERENCE_RATE)
    loader = DataLoader(open_torchvision(folder), REFERENCE_BATCH, shuffle=True)
    test = open_images(folder, "test")
    seconds, epochs, mse = 0.0, 0, float("inf")
    while mse > TARGET_MSE and seconds < max_seconds:
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
