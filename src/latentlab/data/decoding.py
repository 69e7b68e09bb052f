"""Pixels of image files: color modes, transparency, orientation, bit depths and size."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from latentlab.data.files import FORMATS

GRAY_MODES = {"1", "L", "LA", "La"}
DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
"""Pillow's modes with one channel of more than 8 bits; Pillow would clip instead of scaling."""
MAX_16_BIT = 65535

Levels = tuple[float, float]
"""The values of images with more than 8 bits that become black and white."""

Fit = Literal["crop", "pad", "stretch"]
"""The values of `data.fit`."""


@dataclass(frozen=True)
class Header:
    """Properties of an image file that determine how all files are decoded.

    `levels` are its smallest and largest value if it has more than 8 bits. `frames` states whether
    it has several frames or pages, and `reduced` whether Pillow reads only 8 of 16 bits per color.
    """

    mode: str
    size: tuple[int, int]
    gray: bool
    frames: bool
    reduced: bool
    levels: Levels | None


def open_image(file: Path) -> Image.Image:
    """Open an image file in one of the formats that are read, whatever its suffix."""
    return Image.open(file, formats=list(FORMATS))


def read_header(file: Path) -> Header:
    """Read the properties of an image file; decode its pixels only if it has more than 8 bits.

    Raises errors of any type, from Pillow, for files that are not images, and ValueError for values
    that are not finite.
    """
    with open_image(file) as image:
        mode = image.mode
        reduced = mode not in DEEP_MODES and ";16" in str(getattr(image, "tile", ""))
        frames = _has_frames(image)
        gray = mode in GRAY_MODES or mode in DEEP_MODES
        if mode == "P" and (palette := image.getpalette()):
            colors = np.reshape(palette[: len(palette) // 3 * 3], (-1, 3))
            gray = bool((colors == colors[:, :1]).all())
        levels = None
        if mode in DEEP_MODES:
            values = np.asarray(image)
            levels = float(values.min()), float(values.max())
            if not all(map(math.isfinite, levels)):
                raise ValueError("some pixels are not finite numbers")
    return Header(mode, image.size, gray, frames, reduced, levels)


def _has_frames(image: Image.Image) -> bool:
    if image.format == "MPO":  # photographs of phones, with a preview as a second frame
        return False
    if image.format == "GIF":  # counting its frames would decode all of them
        return bool(getattr(image, "is_animated", False))
    return getattr(image, "n_frames", 1) > 1


def decode_image(
    file: Path,
    image_size: int,
    channels: int,
    fit: Fit = "crop",
    levels: Levels = (0, MAX_16_BIT),
) -> np.ndarray:
    """Read the first frame of an image file as uint8 [C, S, S].

    It is oriented as its EXIF data say, fitted to a square. Transparent pixels
    are composited over white. Values of more than 8 bits are mapped from `levels` to 0 and 255.
    """
    with open_image(file) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in DEEP_MODES:
            low, high = levels
            scaled = (np.asarray(image) - np.float64(low)) / (high - low) * 255
            image = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return fit_images(torch.from_numpy(pixels), image_size, fit).numpy()


def resize_images(images: np.ndarray, image_size: int) -> np.ndarray:
    """Resize gray uint8 images [N, H, W] to [N, 1, S, S], bicubic with antialiasing.

    With Pillow, which all results on the bundled digits were computed with; torchvision differs by
    up to 1 of 255.
    """
    if images.shape[1:] == (image_size, image_size):
        return images[:, None]
    size = (image_size, image_size)
    resized = [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(image) for image in resized])[:, None]


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
