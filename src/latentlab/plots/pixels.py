"""Pictures drawn pixel by pixel, for a training that draws many of them.

Hand-written because a figure of Matplotlib takes half a second, and one of these milliseconds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latentlab.plots.canvas import PALETTE
from latentlab.plots.images import tile_images

COLUMNS = 8
MIN_TILE = 56
"""Pixels of an image along each axis; smaller images are enlarged by an integer."""
MAP_SIZE = 400
"""Pixels of a map along each axis."""
MAP_MARGIN = 12
POINT_RADIUS = 2
FRAME = 2
FRAME_COLOR = PALETTE[1]


def draw_images(images: Tensor) -> np.ndarray:
    """Return images [N, C, S, S] in [0, 1] as a grid [H, W, 3] of uint8, in rows of `COLUMNS`."""
    colors = _complete_rows(images.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1))
    scale = -(-MIN_TILE // colors.shape[2])
    grid = tile_images(colors, COLUMNS).mul(255).round().to(torch.uint8)
    return grid.permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)


def draw_pairs(above: Tensor, below: Tensor) -> np.ndarray:
    """Return a grid like `draw_images`, with rows of `above` and `below` in turn."""
    both = torch.stack([_complete_rows(above), _complete_rows(below)])
    rows = both.view(2, -1, COLUMNS, *above.shape[1:]).transpose(0, 1)
    return draw_images(rows.flatten(0, 2))


def draw_mistakes(images: Tensor, correct: Sequence[bool]) -> np.ndarray:
    """Return a grid like `draw_images`, with a colored frame around images that are not correct."""
    picture = draw_images(images)
    size = picture.shape[1] // COLUMNS
    for index, is_correct in enumerate(correct):
        if not is_correct:
            top, left = index // COLUMNS * size, index % COLUMNS * size
            tile = picture[top : top + size, left : left + size]
            inside = tile[FRAME:-FRAME, FRAME:-FRAME].copy()
            tile[:] = _rgb(FRAME_COLOR)
            tile[FRAME:-FRAME, FRAME:-FRAME] = inside
    return picture


def draw_map(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a scatter plot [H, W, 3] of points [N, 2] in the colors of their classes [N].

    Its axes have equal scales, and the points fill the picture.
    """
    from PIL import Image, ImageDraw

    low, high = points.min(0), points.max(0)
    scale = (MAP_SIZE - 2 * MAP_MARGIN) / max(float((high - low).max()), 1e-12)
    positions = (points - (low + high) / 2) * scale * (1, -1) + MAP_SIZE / 2
    picture = Image.new("RGB", (MAP_SIZE, MAP_SIZE), "white")
    canvas = ImageDraw.Draw(picture)
    for (x, y), label in zip(positions.tolist(), labels.tolist(), strict=True):
        box = (x - POINT_RADIUS, y - POINT_RADIUS, x + POINT_RADIUS, y + POINT_RADIUS)
        canvas.ellipse(box, fill=PALETTE[label % len(PALETTE)])
    return np.asarray(picture)


def _complete_rows(images: Tensor) -> Tensor:
    """Add white images until the number of images is a multiple of `COLUMNS`."""
    missing = -len(images) % COLUMNS
    return torch.cat([images, images.new_ones(missing, *images.shape[1:])])


def _rgb(color: str) -> list[int]:
    """Return the components of a color such as `#0072B2`."""
    return list(bytes.fromhex(color[1:]))
