"""A U-Net for denoising: an encoder and decoder with skip connections."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from latentlab.models.io import SavableModel
from latentlab.models.layers import ACTIVATIONS, initialize_brightness


class UNet(SavableModel):
    """A small U-Net (Ronneberger et al. 2015), whose skip connections bypass the coarser scales.

    `channels` has one width for each scale. The first scale has half the size of the image, with
    the pixels rearranged as channels, and every further scale has half the size of the previous
    one, so the image size must be a multiple of 2 ** len(channels).

    The network predicts the image itself, not the noise, through a sigmoid: values of a noisy image
    outside [0, 1] then need not be subtracted pixel by pixel. The initial output is close to
    `brightness`, the mean of each channel.
    """

    family = "unet"

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        activation: str,
        brightness: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "image_shape": list(image_shape),
            "channels": list(channels),
            "activation": activation,
            "brightness": brightness,
        }
        depth, first = image_shape[0], channels[0]
        self.entry = nn.Sequential(
            nn.PixelUnshuffle(2), *_convolution(4 * depth, first, activation)
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                *_convolution(finer, coarser, activation, stride=2),
                *_convolution(coarser, coarser, activation),
            )
            for finer, coarser in pairwise(channels)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarser, 4 * finer, 3, padding=1), nn.PixelShuffle(2))
            for finer, coarser in pairwise(channels)
        )
        self.merge = nn.ModuleList(
            nn.Sequential(
                *_convolution(2 * finer, finer, activation),
                *_convolution(finer, finer, activation),
            )
            for finer in channels[:-1]
        )
        self.exit = nn.Sequential(nn.Conv2d(first, 4 * depth, 3, padding=1), nn.PixelShuffle(2))
        if brightness is not None:
            initialize_brightness(brightness, self.exit)

    def latent_codes(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] to the features of the coarsest scale [N, channels[-1]].

        They are averaged over positions.
        """
        features: Tensor = self.entry(images)
        for down in self.down:
            features = down(features)
        return features.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Map corrupted images [N, C, S, S] to clean ones in [0, 1]."""
        features = self.entry(images)
        skipped: list[Tensor] = []
        for down in self.down:
            skipped.append(features)
            features = down(features)
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            features = merge(torch.cat([skipped.pop(), up(features)], 1))
        return torch.sigmoid(self.exit(features))


def _convolution(inputs: int, outputs: int, activation: str, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), ACTIVATIONS[activation]()]
