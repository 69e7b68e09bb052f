"""Flips and crops of whole batches, with the names and arguments of `torchvision.transforms.v2`.

The transforms of torchvision draw one set of parameters per call, so every image of a batch would
be flipped or shifted alike. Here each image gets its own. These classes do not import torchvision,
which takes seconds; those in `data.torchvision_transforms` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors each image from left to right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images [N, C, S, S], some of them mirrored."""
        return _flip(images, self.p, 3)


@dataclass(frozen=True)
class RandomVerticalFlip:
    """Mirrors each image from top to bottom with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images [N, C, S, S], some of them mirrored."""
        return _flip(images, self.p, 2)


@dataclass(frozen=True)
class RandomCrop:
    """Pads images and crops each of them to `size` at a random position.

    With a `padding` of p and the size of the image, this is a shift by -p to p pixels. `padding` is
    one number, `[left and right, top and bottom]` or `[left, top, right, bottom]`.
    """

    size: int | list[int]
    padding: int | list[int] | None = None
    pad_if_needed: bool = False  # without effect, because crops have the size of the image
    fill: float = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        borders = self.padding if isinstance(self.padding, list) else [self.padding or 0]
        whole = [type(each) is int and each >= 0 for each in borders]
        if len(borders) not in (1, 2, 4) or not all(whole):
            raise ValueError("padding must be a number of pixels, or a list of 2 or 4 of them")
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}")
        if not isinstance(self.fill, int | float):
            raise ValueError("fill must be a number")

    def __call__(self, images: Tensor) -> Tensor:
        """Return crops [N, C, *size] of the images [N, C, S, S]."""
        import torch

        padded = self._pad(images)
        count, _, *shape = padded.shape
        height, width = self.size if isinstance(self.size, list) else (self.size, self.size)
        device = images.device
        top = torch.randint(shape[0] - height + 1, (count, 1), device=device)
        left = torch.randint(shape[1] - width + 1, (count, 1), device=device)
        rows = (top + torch.arange(height, device=device))[:, :, None]
        columns = (left + torch.arange(width, device=device))[:, None, :]
        numbers = torch.arange(count, device=device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[numbers, rows, columns].permute(0, 3, 1, 2)

    def _pad(self, images: Tensor) -> Tensor:
        import numpy as np
        from torch.nn.functional import pad

        borders = self.padding if isinstance(self.padding, list) else [self.padding or 0]
        left, top, right, bottom = borders * (4 // len(borders))
        if self.padding_mode == "constant":
            return pad(images, [left, right, top, bottom], value=self.fill)
        rows = np.pad(np.arange(images.shape[2]), (top, bottom), self.padding_mode)  # type: ignore[call-overload]  # a mode
        columns = np.pad(np.arange(images.shape[3]), (left, right), self.padding_mode)  # type: ignore[call-overload]
        return images[:, :, rows][:, :, :, columns]


def _check_probability(p: float) -> None:
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ValueError("p must be a probability, from 0 to 1")


def _flip(images: Tensor, p: float, axis: int) -> Tensor:
    import torch

    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < p
    return torch.where(mirrored, images.flip(axis), images)
