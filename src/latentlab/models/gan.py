"""The deep convolutional GAN (Radford, Metz and Chintala 2016): a generator and a discriminator."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Noise [N, noise_dim] to images: a linear layer, transposed convolutions, batch norm, tanh."""

    family = "generator"

    def __init__(self, image_shape: Sequence[int], noise_dim: int, channels: int) -> None:
        super().__init__()
        self.config = {
            "image_shape": list(image_shape),
            "noise_dim": noise_dim,
            "channels": channels,
        }
        depth, image_size, _ = image_shape
        base = image_size // 4
        self.layers = nn.Sequential(
            nn.Linear(noise_dim, 4 * channels * base**2, bias=False),
            nn.Unflatten(1, (4 * channels, base, base)),
            nn.BatchNorm2d(4 * channels),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * channels, 2 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, depth, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Generator":
        """The same network, with fresh weights."""
        return cls(**config)

    def forward(self, noise: Tensor) -> Tensor:
        """Images [N, C, S, S] in [-1, 1]."""
        return self.layers(noise)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Images [count, C, S, S] in [0, 1] of fresh standard normal noise."""
        noise = torch.randn(count, self.config["noise_dim"], generator=generator)
        return (self(noise.to(next(self.parameters()).device)) + 1) / 2


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit each: two strided convolutions and a linear layer."""

    def __init__(self, image_shape: Sequence[int], channels: int) -> None:
        super().__init__()
        depth, image_size, _ = image_shape
        self.layers = nn.Sequential(
            nn.Conv2d(depth, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * channels * (image_size // 4) ** 2, 1),
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N]; positive means "real"."""
        return self.layers(images).squeeze(1)


def _initialise(layer: nn.Module) -> None:
    """Weights from N(0, 0.02), as in section 4 of the paper."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
