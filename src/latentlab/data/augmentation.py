"""Random augmentation of images [N, C, S, S] that preserves their class.

Hand-written because the transforms of torchvision draw one set of parameters per batch, and looping
over the images of a batch is several times slower.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Augmentation:
    """Horizontal flips of half of the images, then shifts by up to `shift` pixels."""

    flip: bool = False
    shift: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Return augmented images [N, C, S, S]; the draws come from torch's global generator."""
        if self.flip:
            images = random_flip(images)
        if self.shift:
            images = random_shift(images, self.shift)
        return images


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image from left to right with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def random_shift(images: Tensor, max_shift: int) -> Tensor:
    """Shift each image by -`max_shift` to `max_shift` pixels in both directions, padded with 0."""
    size = images.shape[-1]
    corners = torch.randint(2 * max_shift + 1, (2, len(images), 1), device=images.device)
    rows, columns = corners + torch.arange(size, device=images.device)
    indices = torch.arange(len(images), device=images.device)[:, None, None]
    padded = pad(images, [max_shift] * 4).permute(0, 2, 3, 1)
    return padded[indices, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
