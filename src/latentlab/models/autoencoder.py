"""The convolutional autoencoder."""

from typing import Any, Self

from torch import Tensor, nn

from latentlab.models.io import TrainableModel
from latentlab.models.layers import Decoder, Encoder, mean_squared_error
from latentlab.params.geometry import Architecture


class Autoencoder(TrainableModel):
    """A convolutional encoder, a linear latent code, and a decoder that mirrors the encoder."""

    family = "autoencoder"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.config = architecture.config
        self.encoder = Encoder(architecture)
        self.to_code = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.decoder = Decoder(architecture)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a network from its `config`, with newly initialized weights."""
        return cls(Architecture(**config))

    def encode(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to latent codes [N, latent_dim]."""
        codes: Tensor = self.to_code(self.encoder(images))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Map latent codes [N, latent_dim] to images [N, C, S, S]."""
        images: Tensor = self.decoder(codes)
        return images

    def latent_codes(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to latent codes [N, latent_dim]."""
        return self.encode(images)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [N, C, S, S]."""
        return self.decode(self.encode(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean squared error per pixel; labels are not used."""
        mse = mean_squared_error(self(images), images)
        return {"loss": mse, "mse": mse}
