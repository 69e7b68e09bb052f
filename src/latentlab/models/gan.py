"""The deep convolutional GAN (Radford, Metz and Chintala 2016): a generator and a discriminator.

Both know the class of an image where there are `classes`: the generator gets it as one-hot numbers
beside its noise, the discriminator as planes beside the pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.parametrizations import spectral_norm


class Generator(nn.Module):
    """Noise [N, noise_dim] to images: a linear layer, transposed convolutions, batch norm, tanh."""

    family = "generator"

    def __init__(
        self,
        image_shape: Sequence[int],
        noise_dim: int,
        channels: int,
        class_shares: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.config = {
            "image_shape": list(image_shape),
            "noise_dim": noise_dim,
            "channels": channels,
            "class_shares": list(class_shares),
        }
        depth, image_size, _ = image_shape
        base = image_size // 4
        self.layers = nn.Sequential(
            nn.Linear(self.inputs, 4 * channels * base**2, bias=False),
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
        self.apply(_initialize)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Generator":
        """The same network, with fresh weights."""
        return cls(**config)

    @property
    def inputs(self) -> int:
        """How many numbers make an image: noise, and the class where there are some."""
        return self.config["noise_dim"] + len(self.config["class_shares"])

    def forward(self, noise: Tensor) -> Tensor:
        """Images [N, C, S, S] in [-1, 1] of inputs [N, inputs]."""
        return self.layers(noise)

    def draw(
        self, count: int, generator: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fresh inputs [count, inputs], and the classes [count] that they ask for.

        Where no `labels` are given they are drawn too, by the shares of the classes; a generator
        that knows none has them all 0.
        """
        shares = torch.tensor(self.config["class_shares"])
        noise = torch.randn(count, self.config["noise_dim"], generator=generator)
        if not len(shares):
            return noise, torch.zeros(count, dtype=torch.int64)
        if labels is None:
            labels = shares.multinomial(count, replacement=True, generator=generator)
        return torch.cat([noise, one_hot(labels, len(shares))], 1), labels

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Images [count, C, S, S] in [0, 1] of fresh standard normal noise."""
        inputs, _ = self.draw(count, generator)
        return (self(inputs.to(next(self.parameters()).device)) + 1) / 2


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit each: two strided convolutions and a linear layer.

    `normalization` is "batch", "spectral" (of every layer, Miyato et al. 2018) or "none".
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: int,
        normalization: str = "batch",
        classes: int = 0,
    ) -> None:
        super().__init__()
        depth, image_size, _ = image_shape
        self.classes = classes
        batch_norm = normalization == "batch"
        self.layers = nn.Sequential(
            nn.Conv2d(depth + classes, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=not batch_norm),
            nn.BatchNorm2d(2 * channels) if batch_norm else nn.Identity(),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * channels * (image_size // 4) ** 2, 1),
        )
        self.apply(_initialize)
        if normalization == "spectral":
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of images; positive is "real".

        Where it knows classes, of these images as examples of `labels` [N]: all of class 0 where
        none are given.
        """
        if self.classes:
            if labels is None:
                labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            planes = one_hot(labels, self.classes)[:, :, None, None].to(images.dtype)
            images = torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], 1)
        return self.layers(images).squeeze(1)


def _initialize(layer: nn.Module) -> None:
    """Weights from N(0, 0.02), as in section 4 of the paper."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
