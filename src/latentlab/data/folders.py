"""Image folders: `<class>/*.png` or `.jpg`, gray or RGB, of any size."""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.common.progress import progress_bar
from latentlab.data.resizing import Fit, fit_images

SUFFIXES = {".png", ".jpg", ".jpeg"}
GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
MIN_IMAGES_PER_CLASS = 5
MAX_LISTED_FAILURES = 5

Result = TypeVar("Result")


def list_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, sorted by class name and file name.

    Raises DataError if there are fewer than two classes, if a class has too few images, or if a
    class has only files of other formats.
    """
    members = {
        # hidden files are ignored: macOS writes `._x.png` next to x.png
        sub.name: sorted(f for f in sub.iterdir() if not f.name.startswith("."))
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".")
    }
    classes = {
        name: [file for file in files if file.suffix.lower() in SUFFIXES]
        for name, files in members.items()
    }
    unreadable = [name for name, files in classes.items() if members[name] and not files]
    if unreadable:
        raise DataError(
            f"{folder}: no .png or .jpg files in class {', '.join(map(repr, unreadable))}, only "
            "files of other formats. Convert them, or move the folder elsewhere."
        )
    classes = {name: files for name, files in classes.items() if files}
    if len(classes) < 2:
        raise DataError(
            f"{folder}: at least 2 classes with .png or .jpg files are needed, but there are "
            f"{len(classes)}. Put the images into {folder}/<class>/."
        )
    small = [name for name, files in classes.items() if len(files) < MIN_IMAGES_PER_CLASS]
    if small:
        raise DataError(
            f"{folder}: too few images in class {', '.join(map(repr, small))}; the splits need at "
            f"least {MIN_IMAGES_PER_CLASS} images per class. Add images, or remove the class."
        )
    return classes


def read_folder(
    classes: dict[str, list[Path]],
    image_size: int,
    channels: int | Literal["auto"],
    fit: Fit = "crop",
) -> tuple[np.ndarray, np.ndarray]:
    """Decode and resize all images: uint8 images [N, C, S, S] and int64 labels [N].

    With channels="auto", C is 1 if every image is gray, otherwise 3. Raises DataError if files
    cannot be read; it names the first of them and counts the others.
    """
    files = [file for members in classes.values() for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    if channels == "auto":
        depth = 1 if all(_map_files("inspect images", _is_gray, files)) else 3
    else:
        depth = channels

    def decode(file: Path) -> np.ndarray:
        return decode_image(file, image_size, depth, fit)

    images = np.empty((len(files), depth, image_size, image_size), np.uint8)
    for index, image in enumerate(_map_files("read images", decode, files)):
        images[index] = image
    return images, labels


def digest_files(root: Path, files: list[Path]) -> dict[str, str]:
    """Return one SHA-256 digest of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()} {sha256_of(file)}\n".encode())
    return {f"{root.name}/ ({len(files)} files)": digest.hexdigest()}


def decode_image(file: Path, image_size: int, channels: int, fit: Fit = "crop") -> np.ndarray:
    """Read an image file as uint8 [C, S, S]; transparent pixels are composited over white."""
    with Image.open(file) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits per pixel: Pillow would clip instead of scaling
            image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
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


def _is_gray(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.mode in GRAY_MODES
    except Exception:
        return True  # decoding the file reports the error, together with all others


def _map_files(
    description: str, function: Callable[[Path], Result], files: list[Path]
) -> list[Result]:
    """Apply `function` to every file, in threads: Pillow decodes without holding Python's lock.

    Raises DataError after all files were tried if any of them failed.
    """
    failures: list[str] = []

    def attempt(file: Path) -> list[Result]:
        try:
            return [function(file)]
        except Exception as error:  # Pillow's decoders raise errors of any type
            failures.append(f"{file}: {error}")
            return []

    results: list[Result] = []
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_bar(description, len(files), "images") as bar,
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for result in pool.map(attempt, files):
            results += result
            bar.advance(1)
    if failures:
        failures.sort()
        others = len(failures) - MAX_LISTED_FAILURES
        raise DataError(
            f"{len(failures)} of {len(files)} image files cannot be read, nothing was written:\n  "
            + "\n  ".join(failures[:MAX_LISTED_FAILURES])
            + (f"\n  and {others} others" if others > 0 else "")
            + "\nRepair or remove them."
        )
    return results
