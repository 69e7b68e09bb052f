"""Changes of images [N, C, S, S] that leave their class as it is."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def flipped(images: Tensor) -> Tensor:
    """About half of the images mirrored from left to right."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def shifted(images: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels in both directions; black comes in from outside."""
    size = images.shape[-1]
    corners = torch.randint(2 * most + 1, (2, len(images), 1), device=images.device)
    rows, columns = corners + torch.arange(size, device=images.device)
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    around = pad(images, [most] * 4).permute(0, 2, 3, 1)
    return around[numbers, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
