"""Transforms of torchvision that give each image of a batch parameters of its own.

`RandomAffine` and `RandomErasing` are vectorized, because they are slow one by one: in a batch of
128 images of 28x28 pixels, by factors of about 15. All others run in a loop over the images.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms import v2

ERASING_ATTEMPTS = 10
"""How often torchvision draws a rectangle until one is smaller than the image."""


class RandomAffine(v2.RandomAffine):  # type: ignore[misc]  # torchvision has no types
    """`v2.RandomAffine` with an own transform for each image."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return transformed images [N, C, S, S]."""
        return self.apply(images, *self.draw(images))

    def draw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw angles [N] in degrees, translations [N, 2] in pixels, scales [N], shears [N, 2]."""

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(len(images), device=images.device).uniform_(low, high)

        angles = uniform(*self.degrees)
        size = images.shape[-1]
        limits = [size * fraction for fraction in self.translate or (0, 0)]
        translations = torch.stack([uniform(-limit, limit).round() for limit in limits], 1)
        scales = uniform(*(self.scale or (1, 1)))
        low_x, high_x, low_y, high_y = [*(self.shear or (0, 0)), 0, 0][:4]
        shears = torch.stack([uniform(low_x, high_x), uniform(low_y, high_y)], 1)
        return angles, translations, scales, shears

    def apply(
        self, images: Tensor, angles: Tensor, translations: Tensor, scales: Tensor, shears: Tensor
    ) -> Tensor:
        """Transform each image as `v2.functional.affine` does with the same parameters."""
        size = images.shape[-1]
        center = torch.tensor(self.center or (size / 2, size / 2), device=images.device) - size / 2
        matrices = _inverse_matrices(angles, scales, shears)
        # output x is read from input A (x - center - translation) + center
        offsets = center - (matrices @ (center + translations)[:, :, None])[:, :, 0]
        theta = torch.cat([matrices, offsets[:, :, None] * (2 / size)], 2)  # unit: half the image
        grid = affine_grid(theta, list(images.shape), align_corners=False)
        inside = torch.ones_like(images[:, :1])
        mode = str(self.interpolation)
        sampled = grid_sample(
            torch.cat([images, inside], 1), grid, mode, padding_mode="zeros", align_corners=False
        )
        sampled, inside = sampled[:, :-1], sampled[:, -1:]
        if self.fill is None:
            return sampled
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
        if mode == "nearest":
            return torch.where(inside < 0.5, fill, sampled)
        return (sampled - fill) * inside + fill


def _inverse_matrices(angles: Tensor, scales: Tensor, shears: Tensor) -> Tensor:
    """Return the inverses [N, 2, 2] of rotation(angle) * scale * shear y * shear x."""
    angle, (x, y) = angles.deg2rad(), shears.deg2rad().T
    a, c = (angle - y).cos() / y.cos(), (angle - y).sin() / y.cos()
    b, d = -(a * x.tan() + angle.sin()), angle.cos() - c * x.tan()
    # the determinant of the matrix without its scale is 1
    return torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / scales[:, None, None]


class RandomErasing(v2.RandomErasing):  # type: ignore[misc]
    """`v2.RandomErasing` with an own rectangle for each image."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return images [N, C, S, S], some of them with an erased rectangle."""
        return self.apply(images, *self.draw(images))

    def draw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw the top, left, height and width [N] of a rectangle; height 0 erases nothing."""
        device, size = images.device, images.shape[-1]
        shape = (ERASING_ATTEMPTS, len(images))
        area = size**2 * torch.empty(shape, device=device).uniform_(*self.scale)
        ratio = torch.empty(shape, device=device).uniform_(*self._log_ratio.tolist()).exp()
        heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        smaller = (heights < size) & (widths < size)
        first = smaller.int().argmax(0, keepdim=True)
        height, width = heights.gather(0, first)[0], widths.gather(0, first)[0]
        chosen = torch.rand(len(images), device=device) < self.p
        height = height * (chosen & smaller.any(0))
        top, left = torch.rand(2, len(images), device=device) * (
            size + 1 - torch.stack([height, width])
        )
        return top.floor(), left.floor(), height, width

    def apply(
        self, images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor
    ) -> Tensor:
        """Erase a rectangle of each image as `v2.functional.erase` does."""
        pixels = torch.arange(images.shape[-1], device=images.device)
        rows = (pixels >= top[:, None]) & (pixels < (top + height)[:, None])
        columns = (pixels >= left[:, None]) & (pixels < (left + width)[:, None])
        if self.value is None:
            value = torch.randn_like(images)
        else:
            value = torch.tensor(self.value, dtype=images.dtype, device=images.device)
            value = value.view(1, -1, 1, 1)
        return torch.where(rows[:, None, :, None] & columns[:, None, None, :], value, images)


class PerImage:
    """Any other transform, applied to one image after the other."""

    def __init__(self, transform: v2.Transform) -> None:
        self._transform = transform

    def __call__(self, images: Tensor) -> Tensor:
        """Return transformed images [N, C, S, S] in channels-last memory format."""
        outputs = torch.stack([self._transform(image) for image in images])
        return outputs.contiguous(memory_format=torch.channels_last)


def make_transform(name: str, arguments: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """Return a transform of batches [N, C, S, S]."""
    transform: Callable[[Tensor], Tensor]
    if name in VECTORIZED:
        transform = VECTORIZED[name](**arguments)
        return transform
    return PerImage(getattr(v2, name)(**arguments))


VECTORIZED: dict[str, Any] = {"RandomAffine": RandomAffine, "RandomErasing": RandomErasing}
