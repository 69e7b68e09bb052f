"""The convolutional autoencoder."""

from typing import Any

from torch import Tensor, nn

from latentlab.models.layers import Decoder, Encoder, mean_squared_error
from latentlab.params.geometry import Architecture


class Autoencoder(nn.Module):
    """A symmetric encoder and decoder with a linear code between them."""

    family = "autoencoder"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.to_code = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.decoder = Decoder(architecture)

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` builds it from."""
        return self.architecture.config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Autoencoder":
        """The same network, with fresh weights."""
        return cls(Architecture(**config))

    def encode(self, images: Tensor) -> Tensor:
        """Images [N, C, S, S] in [0, 1] to codes [N, latent_dim]."""
        return self.to_code(self.encoder(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, latent_dim] to images [N, C, S, S]."""
        return self.decoder(codes)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S]."""
        return self.decode(self.encode(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean squared error per pixel; labels are not used."""
        mse = mean_squared_error(self(images), images)
        return {"loss": mse, "mse": mse}
