"""The convolutional autoencoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from latentlab.models.convolution import Decoder, Encoder, mean_squared_error


class Autoencoder(nn.Module):
    """A symmetric encoder and decoder with a linear code between them; sigmoid output."""

    family = "autoencoder"

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        hidden: int,
        latent_dim: int,
        activation: str,
        upsampling: str,
    ) -> None:
        super().__init__()
        self.config = {
            "image_shape": list(image_shape),
            "channels": list(channels),
            "hidden": hidden,
            "latent_dim": latent_dim,
            "activation": activation,
            "upsampling": upsampling,
        }
        self.encoder = Encoder(image_shape, channels, hidden, activation)
        self.to_code = nn.Linear(hidden, latent_dim)
        self.decoder = Decoder(image_shape, channels, hidden, latent_dim, activation, upsampling)

    def encode(self, images: Tensor) -> Tensor:
        """Images [N, C, S, S] in [0, 1] to codes [N, latent_dim]."""
        return self.to_code(self.encoder(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, latent_dim] to images [N, C, S, S] in [0, 1]."""
        return self.decoder(codes).sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S] in [0, 1]."""
        return self.decode(self.encode(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean squared error per pixel; labels are not used."""
        mse = mean_squared_error(self(images), images)
        return {"loss": mse, "mse": mse}
