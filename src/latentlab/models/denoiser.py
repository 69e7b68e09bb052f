"""The denoiser: a network that is trained to reconstruct clean images from corrupted ones."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.io import TrainableModel
from latentlab.models.layers import mean_squared_error
from latentlab.models.unet import UNet
from latentlab.params.denoising import UNetParams
from latentlab.params.geometry import Architecture

if TYPE_CHECKING:
    from latentlab.data.image_set import DatasetInfo
    from latentlab.params.denoising import DenoiserParams

Network = Autoencoder | UNet
"""A network that a denoiser can train."""

NETWORKS: dict[str, type[Network]] = {Autoencoder.family: Autoencoder, UNet.family: UNet}

VALIDATION_SEED = 0
"""Seed of the corruption in evaluation mode."""


class Denoiser(TrainableModel):
    """A denoising autoencoder (Vincent et al. 2008); `network` may also be a U-Net.

    In training mode every batch is corrupted at random. In evaluation mode the corruption uses a
    fixed seed, so that losses of different epochs are comparable.
    """

    family = "denoiser"

    def __init__(self, network: Network, corruption: Corruption) -> None:
        super().__init__()
        self.network = network
        self.corruption = corruption
        self.config = {
            "family": network.family,
            "network": network.config,
            "corruption": corruption.config,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a network from its `config`, with newly initialized weights."""
        network = NETWORKS[config["family"]].from_config(config["network"])
        return cls(network, Corruption.from_config(config["corruption"]))

    def forward(self, images: Tensor) -> Tensor:
        """Denoise corrupted images [N, C, S, S]."""
        denoised: Tensor = self.network(images)
        return denoised

    def corrupt(self, images: Tensor) -> Tensor:
        """Corrupt clean images [N, C, S, S]: at random in training mode, else always equally."""
        random = None
        if not self.training:
            random = torch.Generator(images.device).manual_seed(VALIDATION_SEED)
        return self.corruption(images, random)

    def latent_codes(self, images: Tensor) -> Tensor:
        """Corrupt clean images [N, C, S, S] and map them to the codes [N, L] of the network."""
        return self.network.latent_codes(self.corrupt(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean squared error per pixel to the clean `images`; labels are not used."""
        mse = mean_squared_error(self(self.corrupt(images)), images)
        return {"loss": mse, "mse": mse}


def network_builder(settings: "DenoiserParams", info: "DatasetInfo") -> Callable[[], Network]:
    """Return a function that builds the network of one entry of `denoise` in `params.yaml`."""
    network = settings.network
    if isinstance(network, UNetParams):
        return partial(
            UNet, info.image_shape, network.channels, network.activation, brightness=info.mean
        )
    return partial(Autoencoder, Architecture.of(network, info))
