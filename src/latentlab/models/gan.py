"""The deep convolutional GAN (Radford, Metz and Chintala 2016): generator and discriminator.

If class shares are given, the GAN is conditional (Mirza and Osindero 2014): the generator receives
the class as a one-hot vector appended to its noise, and the discriminator as one-hot channels
appended to the image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.parametrizations import spectral_norm

from latentlab.models.io import SavableModel


class Generator(SavableModel):
    """A linear layer and transposed convolutions that map noise [N, noise_dim] to images.

    Batch norm and ReLU follow every layer except the last, which is followed by tanh.
    `class_shares` are the frequencies of the classes; if empty, the generator is unconditional.
    """

    family = "generator"

    def __init__(
        self,
        image_shape: Sequence[int],
        noise_dim: int,
        channels: int,
        class_shares: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.class_shares = list(class_shares)
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

    @property
    def inputs(self) -> int:
        """Size of an input vector: the noise and the one-hot class."""
        return self.noise_dim + len(self.class_shares)

    def forward(self, noise: Tensor) -> Tensor:
        """Map inputs [N, inputs] to images [N, C, S, S] in [-1, 1]."""
        images: Tensor = self.layers(noise)
        return images

    def draw(
        self, count: int, generator: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw inputs [count, inputs] and return them with their classes [count].

        Classes that are not given as `labels` are drawn from `class_shares`. The classes of an
        unconditional generator are all 0.
        """
        shares = torch.tensor(self.class_shares)
        noise = torch.randn(count, self.noise_dim, generator=generator)
        if not len(shares):
            return noise, torch.zeros(count, dtype=torch.int64)
        if labels is None:
            labels = shares.multinomial(count, replacement=True, generator=generator)
        return torch.cat([noise, one_hot(labels, len(shares))], 1), labels

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Generate images [count, C, S, S] in [0, 1] from standard normal noise."""
        inputs, _ = self.draw(count, generator)
        images: Tensor = self(inputs.to(next(self.parameters()).device))
        return (images + 1) / 2


class Discriminator(nn.Module):
    """Two strided convolutions and a linear layer that map images in [-1, 1] to one logit each.

    `normalization` is "batch", "spectral" (of every layer, Miyato et al. 2018) or "none".
    `classes` is the number of classes of a conditional discriminator, else 0.
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
        """Return logits [N]; positive means "real".

        A conditional discriminator evaluates the images as examples of `labels` [N], or of class 0
        if no labels are given.
        """
        if self.classes:
            if labels is None:
                labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            planes = one_hot(labels, self.classes)[:, :, None, None].to(images.dtype)
            images = torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], 1)
        logits: Tensor = self.layers(images)
        return logits.squeeze(1)


def _initialize(layer: nn.Module) -> None:
    """Draw weights from N(0, 0.02), as in section 4 of the paper."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
