"""A network that learns to restore corrupted images."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latentlab.data.corruption import Corruption
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.layers import mean_squared_error
from latentlab.models.unet import UNet
from latentlab.params.denoising import UNetParams
from latentlab.params.geometry import Architecture

if TYPE_CHECKING:
    from latentlab.data.image_set import DatasetInfo
    from latentlab.params.denoising import DenoiserParams

NETWORKS = {network.family: network for network in (Autoencoder, UNet)}
VALIDATION_SEED = 0


class Denoiser(nn.Module):
    """A denoising autoencoder (Vincent et al. 2008), or a U-Net in its place.

    In training mode every batch is corrupted afresh; in evaluation mode every batch is corrupted the
    same, so that the losses of epochs can be compared.
    """

    family = "denoiser"

    def __init__(self, network: Autoencoder | UNet, corruption: Corruption) -> None:
        super().__init__()
        self.network = network
        self.corruption = corruption

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` builds it from."""
        return {
            "family": self.network.family,
            "network": self.network.config,
            "corruption": self.corruption.config,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Denoiser":
        """The same network, with fresh weights."""
        network = NETWORKS[config["family"]].from_config(config["network"])
        return cls(network, Corruption.from_config(config["corruption"]))

    def forward(self, images: Tensor) -> Tensor:
        """Restored images [N, C, S, S] of corrupted ones."""
        return self.network(images)

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean squared error per pixel to the images before they were corrupted."""
        random = None
        if not self.training:
            random = torch.Generator(images.device).manual_seed(VALIDATION_SEED)
        mse = mean_squared_error(self(self.corruption(images, random)), images)
        return {"loss": mse, "mse": mse}


def network_of(settings: "DenoiserParams", info: "DatasetInfo") -> Callable[[], nn.Module]:
    """Builds the network that an entry of `denoise` asks for."""
    network = settings.network
    if isinstance(network, UNetParams):
        return partial(
            UNet, info.image_shape, network.channels, network.activation, brightness=info.mean
        )
    return partial(Autoencoder, Architecture.of(network, info))
