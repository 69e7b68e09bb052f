"""Fitting of images to a square: crop, pad or stretch, and antialiased resizing."""

from typing import Literal

from torch import Tensor

Fit = Literal["crop", "pad", "stretch"]
"""The values of `data.fit`."""


def fit_images(images: Tensor, size: int, fit: Fit) -> Tensor:
    """Fit uint8 images [..., C, H, W] to [..., C, size, size], bicubic with antialiasing.

    "crop" keeps the central square, "pad" adds black borders, and "stretch" changes the aspect
    ratio. Images of the requested size are returned unchanged.
    """
    height, width = images.shape[-2:]
    if height == width == size:
        return images
    from torchvision.transforms.v2 import InterpolationMode, functional  # takes seconds

    shape = [size, size]
    if fit == "crop":  # before resizing, as Pillow does
        images = functional.center_crop(images, [min(height, width)] * 2)
    elif fit == "pad":
        shape = [max(1, round(size * side / max(height, width))) for side in (height, width)]
    images = functional.resize(images, shape, InterpolationMode.BICUBIC, antialias=True)
    top, left = ((size - side) // 2 for side in shape)
    borders = [left, top, size - shape[1] - left, size - shape[0] - top]
    padded: Tensor = functional.pad(images, borders)
    return padded
