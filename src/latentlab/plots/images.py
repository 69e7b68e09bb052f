"""Grids, rows and animations of images."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from torch import Tensor

from latentlab.common.files import atomic_path
from latentlab.plots.canvas import new_figure, save

INCHES_PER_IMAGE = 0.62
CAPTION_WIDTH = 20
"""Characters in a line of a caption."""
ANIMATION_SCALE = 4
"""Pixels of an animation per pixel of an image."""
ANIMATION_MILLISECONDS = 120
"""Duration of a frame."""


def plot_grid(target: Path, images: Tensor, columns: int, title: str) -> None:
    """Draw images [N, C, S, S] in [0, 1] in a grid, row by row."""
    _draw_rows(target, [("", row) for row in _chunks(images, columns)], title, margin=0.2)


def plot_rows(target: Path, rows: dict[str, Tensor], title: str) -> None:
    """Draw one row of images [N, C, S, S] in [0, 1] per entry, with the key as its label."""
    _draw_rows(target, list(rows.items()), title, margin=1.4)


def plot_captioned(
    target: Path, images: Tensor, captions: Sequence[str], columns: int, title: str
) -> None:
    """Draw images [N, C, S, S] in [0, 1] in a grid, each with its caption above it."""
    rows = -(-len(images) // columns)
    figure = new_figure(1.2 * columns, 1.2 * rows + 0.5)
    axes = figure.subplots()  # one for all images, because the layout of hundreds takes minutes
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        extent = (column, column + 0.75, -row - 0.75, -row)
        axes.imshow(image_strip(image[None]), interpolation="nearest", extent=extent)
        lines = fill(caption, CAPTION_WIDTH, break_long_words=False, break_on_hyphens=False)
        axes.text(column, 0.02 - row, lines, fontsize=5, va="bottom")
    axes.set(xlim=(0, columns), ylim=(-rows, 0.25))
    axes.set_axis_off()
    figure.suptitle(title)
    save(figure, target)


def plot_latent_grid(
    target: Path,
    images: Tensor,
    x_values: np.ndarray,
    y_values: np.ndarray,
    axis_names: Sequence[str],
    title: str,
) -> None:
    """Draw decoded images [Y * X, C, S, S] at the coordinates of their codes.

    The first row of images belongs to the largest of `y_values`; both axes are evenly spaced.
    """
    rows = [image_strip(row, gap=0) for row in _chunks(images, len(x_values))]
    half_x = (x_values[-1] - x_values[0]) / (len(x_values) - 1) / 2
    half_y = (y_values[-1] - y_values[0]) / (len(y_values) - 1) / 2
    figure = new_figure(7, 7)
    axes = figure.subplots()
    axes.imshow(
        np.concatenate(rows),
        interpolation="nearest",
        aspect="auto",
        extent=(
            x_values[0] - half_x,
            x_values[-1] + half_x,
            y_values[0] - half_y,
            y_values[-1] + half_y,
        ),
    )
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    save(figure, target)


def save_animation(
    target: Path,
    frames: list[Tensor],
    scale: int = ANIMATION_SCALE,
    milliseconds: int = ANIMATION_MILLISECONDS,
) -> None:
    """Write frames as an endless GIF; each frame shows images [N, C, S, S] in [0, 1] in a row."""
    from PIL import Image

    pictures = []
    for images in frames:
        pixels = (image_strip(images) * 255).round().astype(np.uint8)
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


def image_strip(images: Tensor, gap: int = 2) -> np.ndarray:
    """Return images [N, C, S, S] as one strip [S, N * (S + gap) - gap, 3] with white gaps."""
    count, _, size, _ = images.shape
    strip = np.ones((size, count * (size + gap) - gap, 3), np.float32)
    pixels = images.detach().float().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    for index, image in enumerate(pixels):
        start = index * (size + gap)
        strip[:, start : start + size] = image
    return strip


def tile_images(images: Tensor, columns: int) -> Tensor:
    """Return images [N, C, S, S] as one image [C, rows * S, columns * S], row by row.

    N must be a multiple of `columns`.
    """
    rows = [torch.cat(list(row), 2) for row in _chunks(images, columns)]
    return torch.cat(rows, 1)


def _chunks(images: Tensor, size: int) -> list[Tensor]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _draw_rows(target: Path, rows: list[tuple[str, Tensor]], title: str, margin: float) -> None:
    """Draw rows of images with labels; `margin` is the width in inches left for the labels."""
    width = max(len(images) for _, images in rows) * INCHES_PER_IMAGE + margin
    figure = new_figure(max(width, 4), len(rows) * INCHES_PER_IMAGE + 0.6)
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, images) in zip(grid, rows, strict=True):
        axes.imshow(image_strip(images), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)
    save(figure, target)
