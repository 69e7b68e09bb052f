"""Images in four orientations, labeled by their rotation, for training without class labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet

ROTATIONS = ("0°", "90°", "180°", "270°")
"""Names of the labels: counterclockwise rotations by quarter turns."""


@dataclass(frozen=True)
class RotatedImages(ImageSet):
    """Images rotated by as many quarter turns as their labels [N] say, when they are read.

    Predicting the rotation is a task that needs no labels and whose features describe the content
    of images (Gidaris et al. 2018).
    """

    @classmethod
    def of(cls, images: ImageSet) -> "RotatedImages":
        """Return every image in all four orientations, without a copy of its pixels."""
        rows = torch.arange(len(images)) if images.rows is None else images.rows
        turns = torch.arange(len(ROTATIONS))
        repeated = rows.repeat_interleave(len(turns))
        return cls(images.images, turns.repeat(len(images)), repeated)

    def _pixels(self, indices: Tensor | slice) -> Tensor:
        pixels = super()._pixels(indices)  # a copy, because `rows` selects them
        turns = self.labels[indices]
        for turn in range(1, len(ROTATIONS)):
            chosen = (turns == turn).to(pixels.device)
            pixels[chosen] = pixels[chosen].rot90(turn, (2, 3))
        return pixels
