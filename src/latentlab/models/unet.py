"""A network without a bottleneck, for restoring images."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.models.layers import ACTIVATIONS, initialize_brightness


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015): what each scale saw skips the coarser ones.

    The first scale has half the size of the image, its pixels rearranged as channels, and each
    other half of the one before; `channels` has a width for each, and the size of the image must
    be a multiple of 2 to the power of their number. A sigmoid ends it: what is beyond [0, 1] in a
    noisy image need not be taken away pixel by pixel. It starts at `brightness`, the mean of each
    channel.
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
        self.config: dict[str, Any] = {
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

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UNet":
        """The same network, with fresh weights."""
        return cls(**config)

    def forward(self, images: Tensor) -> Tensor:
        """Restored images [N, C, S, S]."""
        features = self.entry(images)
        skipped = []
        for down in self.down:
            skipped.append(features)
            features = down(features)
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            features = merge(torch.cat([skipped.pop(), up(features)], 1))
        return torch.sigmoid(self.exit(features))


def _convolution(inputs: int, outputs: int, activation: str, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), ACTIVATIONS[activation]()]
