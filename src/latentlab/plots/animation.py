"""Images one after the other."""

from pathlib import Path

import numpy as np
from torch import Tensor

from latentlab.files import atomic_path
from latentlab.plots.images import side_by_side

SCALE = 4
"""Pixels of the animation for each of an image."""
MILLISECONDS = 120


def save_animation(
    target: Path, frames: list[Tensor], scale: int = SCALE, milliseconds: int = MILLISECONDS
) -> None:
    """Write frames, each of images [K, C, S, S] in [0, 1] side by side, as a GIF that goes on."""
    from PIL import Image

    pictures = []
    for images in frames:
        pixels = (side_by_side(images) * 255).round().astype(np.uint8)
        pictures.append(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)))
    with atomic_path(target) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=milliseconds,
            loop=0,
        )
