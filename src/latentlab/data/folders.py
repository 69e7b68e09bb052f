"""Image folders: `<class>/*.png` or `.jpg`, grey or RGB, any size."""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.common.progress import progress_bar

SUFFIXES = {".png", ".jpg", ".jpeg"}
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
FEWEST_PER_CLASS = 5
NAMED_FAILURES = 5

Result = TypeVar("Result")


def list_classes(folder: Path) -> dict[str, list[Path]]:
    """Image files by class name, both sorted; DataError when there is nothing to learn from."""
    members = {
        # hidden files are not meant: macOS leaves `._x.png` beside x.png
        sub.name: sorted(f for f in sub.iterdir() if not f.name.startswith("."))
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".")
    }
    classes = {name: list(filter(_is_image, files)) for name, files in members.items()}
    unread = [name for name, files in classes.items() if members[name] and not files]
    if unread:
        raise DataError(
            f"{folder}: no .png or .jpg files in {', '.join(map(repr, unread))}, but others; "
            "convert them, or move the folder away"
        )
    classes = {name: files for name, files in classes.items() if files}
    if len(classes) < 2:
        raise DataError(
            f"{folder}: found {len(classes)} classes with .png or .jpg files, at least 2 are "
            f"needed; put the images into {folder}/<class>/"
        )
    small = [name for name, files in classes.items() if len(files) < FEWEST_PER_CLASS]
    if small:
        raise DataError(
            f"{folder}: too few images to split in class {', '.join(map(repr, small))}; "
            f"at least {FEWEST_PER_CLASS} per class are needed"
        )
    return classes


def _is_image(file: Path) -> bool:
    """By its name."""
    return file.suffix.lower() in SUFFIXES


def read_folder(
    classes: dict[str, list[Path]], image_size: int, channels: int | str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode and resize every image: uint8 images [N, C, S, S] and int64 labels [N].

    Images are cropped to a centred square, then resized. With channels="auto" the set is grey
    only where every image is. DataError names the first files that cannot be read, and counts
    the others.
    """
    files = [file for members in classes.values() for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    if channels == "auto":
        channels = 1 if all(_in_parallel("look at images", _is_grey, files)) else 3

    def decode(file: Path) -> np.ndarray:
        return decode_image(file, image_size, channels)

    images = np.empty((len(files), channels, image_size, image_size), np.uint8)
    for index, image in enumerate(_in_parallel("read images", decode, files)):
        images[index] = image
    return images, labels


def digest_files(root: Path, files: list[Path]) -> dict[str, str]:
    """One SHA-256 over all names and contents of a folder of images."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()} {sha256_of(file)}\n".encode())
    return {f"{root.name}/ ({len(files)} files)": digest.hexdigest()}


def decode_image(file: Path, image_size: int, channels: int) -> np.ndarray:
    """One image file as uint8 [C, S, S]; transparency is laid over white."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits per pixel: Pillow would clip, not scale
            image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def resize_images(images: np.ndarray, image_size: int) -> np.ndarray:
    """Resize grey uint8 images [N, H, W] to [N, 1, S, S], bicubic, antialiased when shrinking."""
    if images.shape[1:] == (image_size, image_size):
        return images[:, None]
    size = (image_size, image_size)
    resized = [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in images]
    return np.stack(resized)[:, None]


def _is_grey(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.mode in GREY_MODES
    except Exception:
        return True  # reported with all others when it is decoded


def _in_parallel(
    description: str, function: Callable[[Path], Result], files: list[Path]
) -> list[Result]:
    """`function` of every file, on threads (Pillow decodes outside Python's lock)."""
    failures: list[str] = []

    def attempt(file: Path) -> Result | None:
        try:
            return function(file)
        except Exception as fault:  # Pillow lets through whatever its decoders stumble over
            failures.append(f"{file}: {fault}")
            return None

    results = []
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_bar(description, len(files), "images") as bar,
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for result in pool.map(attempt, files):
            results.append(result)
            bar.advance(1)
    if failures:
        failures.sort()
        others = len(failures) - NAMED_FAILURES
        raise DataError(
            f"{len(failures)} of {len(files)} image files cannot be read, nothing was written:\n  "
            + "\n  ".join(failures[:NAMED_FAILURES])
            + (f"\n  and {others} others" if others > 0 else "")
            + "\nRepair or remove them."
        )
    return results
