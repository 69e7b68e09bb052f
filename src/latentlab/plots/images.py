"""Grids of images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.common.files import atomic_path
from latentlab.plots.canvas import new_figure, save

INCHES_PER_IMAGE = 0.62


def plot_grid(target: Path, images: Tensor, columns: int, title: str) -> None:
    """Draw images [N, C, S, S] in [0, 1], row by row."""
    _draw(target, [("", row) for row in images.split(columns)], title, margin=0.2)


def plot_rows(target: Path, rows: dict[str, Tensor], title: str) -> None:
    """Draw one row of images [N, C, S, S] per entry, with the key as its name on the left."""
    _draw(target, list(rows.items()), title, margin=1.4)


def plot_plane(
    target: Path,
    images: Tensor,
    across: np.ndarray,
    up: np.ndarray,
    axis_names: Sequence[str],
    title: str,
) -> None:
    """Draw images [U * A, C, S, S], the upper row first, where their codes are on a plane."""
    rows = [side_by_side(row, gap=0) for row in images.split(len(across))]
    step = (across[-1] - across[0]) / (len(across) - 1), (up[-1] - up[0]) / (len(up) - 1)
    figure = new_figure(7, 7)
    axes = figure.subplots()
    axes.imshow(
        np.concatenate(rows),
        interpolation="nearest",
        aspect="auto",
        extent=(
            across[0] - step[0] / 2,
            across[-1] + step[0] / 2,
            up[0] - step[1] / 2,
            up[-1] + step[1] / 2,
        ),
    )
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    save(figure, target)


def _draw(target: Path, rows: list[tuple[str, Tensor]], title: str, margin: float) -> None:
    width = max(len(images) for _, images in rows) * INCHES_PER_IMAGE + margin
    figure = new_figure(max(width, 4), len(rows) * INCHES_PER_IMAGE + 0.6)
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (name, images) in zip(axes, rows, strict=True):
        axis.imshow(side_by_side(images), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)
    save(figure, target)


def side_by_side(images: Tensor, gap: int = 2) -> np.ndarray:
    """Images [N, C, S, S] in one strip [S, N * (S + gap) - gap, 3], white between them."""
    count, _, size, _ = images.shape
    strip = np.ones((size, count * (size + gap) - gap, 3), np.float32)
    pixels = images.detach().float().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    for index, image in enumerate(pixels):
        start = index * (size + gap)
        strip[:, start : start + size] = image
    return strip


def tiled(images: Tensor, columns: int) -> Tensor:
    """Images [N, C, S, S] as one [C, rows * S, columns * S], row by row; N fills its rows."""
    rows = [torch.cat(list(row), 2) for row in images.split(columns)]
    return torch.cat(rows, 1)


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
