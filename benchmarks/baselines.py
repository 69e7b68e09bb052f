"""One training epoch of latentlab and of the baselines: Lightning, a plain torch loop, pythae."""

import logging
import time
import warnings
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.device import prepare
from latentlab.models.layers import Decoder, Encoder
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.training.loop import Training

from .data import open_images, open_torchvision
from .interleaving import Epoch

CPU = torch.device("cpu")
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
MAX_EPOCHS = 1000
SMALL = Architecture([1, 28, 28], [8, 16, 32], 64, 8, activation="relu")
WIDE = Architecture([1, 28, 28], [16, 32, 64], 128, 8)


class LightningAutoencoder(lightning.LightningModule):
    """The autoencoder as a LightningModule that records when its epochs end."""

    def __init__(self, model: Autoencoder, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.ends: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss of one batch."""
        return self.model.loss_terms(*batch)["loss"]

    def on_train_epoch_end(self) -> None:
        """Record the time."""
        self.ends.append(time.perf_counter())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return self.optimizer


def make_latentlab(folder: Path, architecture: Architecture, vae: bool = False) -> Epoch:
    """Set up latentlab's loop with one validation image, because the baselines do not validate."""
    prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
    settings = OptimizationParams(
        epochs=MAX_EPOCHS,
        patience=None,
        batch_size=BATCH_SIZE,
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        schedule="constant",
    )
    images = open_images(folder)
    model = Vae(architecture, "squared_error") if vae else Autoencoder(architecture)
    training = Training(model, settings, images, images.take(torch.arange(1)), 0, CPU)
    epochs = training.epochs()

    def epoch() -> float:
        start = time.perf_counter()
        next(epochs)
        return time.perf_counter() - start

    return epoch


def make_lightning(folder: Path, workers: int) -> Epoch:
    """Set up Lightning without optional features; the second epoch contains no setup."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    model = Autoencoder(SMALL)
    module = LightningAutoencoder(model, _adamw(model))
    loader = _loader(folder, workers)

    def epoch() -> float:
        trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=2, barebones=True)
        trainer.fit(module, loader)
        first, second = module.ends[-2:]
        return second - first

    return epoch


def make_torch(folder: Path, workers: int) -> Epoch:
    """Set up a plain training loop."""
    model = Autoencoder(SMALL)
    optimizer = _adamw(model)
    loader = _loader(folder, workers)

    def epoch() -> float:
        start = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            model.loss_terms(images, labels)["loss"].backward()
            optimizer.step()
        return time.perf_counter() - start

    return epoch


def make_pythae(folder: Path) -> Epoch:
    """Set up pythae's VAE and trainer with the same networks, and float images in memory."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class PythaeEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.features = Encoder(SMALL)
            self.mean = nn.Linear(self.features.features, SMALL.latent_dim)
            self.log_variance = nn.Linear(self.features.features, SMALL.latent_dim)

        def forward(self, images: Tensor) -> ModelOutput:
            features = self.features(images)
            return ModelOutput(
                embedding=self.mean(features), log_covariance=self.log_variance(features)
            )

    class PythaeDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = Decoder(SMALL)

        def forward(self, codes: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(codes))

    logging.getLogger("pythae").setLevel(logging.ERROR)
    images = open_images(folder)
    dataset = BaseDataset(images.floats().contiguous(), images.labels)
    model = VAE(
        VAEConfig(input_dim=(1, 28, 28), latent_dim=SMALL.latent_dim, reconstruction_loss="mse"),
        PythaeEncoder(),
        PythaeDecoder(),
    )
    config = BaseTrainerConfig(
        output_dir=str(folder / "pythae"),
        num_epochs=MAX_EPOCHS,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH_SIZE,
        optimizer_cls="AdamW",
        optimizer_params={"weight_decay": WEIGHT_DECAY, "fused": True},
        no_cuda=True,
    )
    trainer = BaseTrainer(model, dataset, training_config=config)
    trainer.prepare_training()

    def epoch() -> float:
        start = time.perf_counter()
        trainer.train_step(1)
        return time.perf_counter() - start

    return epoch


def _adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )


def _loader(folder: Path, workers: int) -> DataLoader:
    """Return shuffled batches; workers persist between epochs."""
    return DataLoader(
        open_torchvision(folder),
        BATCH_SIZE,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
