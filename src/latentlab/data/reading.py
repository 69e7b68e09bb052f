"""Reading the image files of a dataset in parallel, into one array."""

import hashlib
import math
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.common.processes import available_cores
from latentlab.common.progress import progress_bar
from latentlab.data.decoding import MAX_16_BIT, Fit, Header, Levels, decode_image, read_header
from latentlab.data.files import list_some, printable

FILES_PER_TASK = 64
SMALL_RANGE = 0.25
"""Part of the range of 16 bits below which the content of the images looks nearly constant."""

Scale = Literal["full", "content"] | tuple[float, float]
"""The parameter `data.scale`."""
Result = TypeVar("Result")
Failures = dict[Path, str]


@dataclass(frozen=True)
class Originals:
    """Width and height of the smallest and the largest image file, and notes for the user."""

    smallest: tuple[int, int]
    largest: tuple[int, int]
    notes: tuple[str, ...]


def read_files(
    files: list[Path],
    image_size: int,
    channels: int | Literal["auto"],
    scale: Scale,
    fit: Fit = "crop",
) -> tuple[np.ndarray, Originals]:
    """Decode all files to uint8 images [N, C, S, S], and return them with facts on the files.

    With channels="auto", C is 1 if every image is gray, otherwise 3. Raises DataError if files
    cannot be read, after all of them were tried, or if `scale` does not fit them.
    """
    failures: Failures = {}
    found = _map_files("inspect images", read_header, files, failures)
    headers = [header for header in found if header is not None]
    if channels == "auto":
        channels = 1 if all(header.gray for header in headers) else 3
    # values out of range are reported after files that cannot be read
    levels, problem = _choose_levels(files, found, scale)
    images = np.empty((len(files), channels, image_size, image_size), np.uint8)
    rows = {file: row for row, file in enumerate(files)}

    def decode(file: Path) -> None:
        images[rows[file]] = decode_image(file, image_size, channels, fit, levels)

    _map_files("read images", decode, [file for file in files if file not in failures], failures)
    if failures:
        lines = [f"{printable(file)}: {reason}" for file, reason in sorted(failures.items())]
        raise DataError(
            f"{len(failures)} of {len(files)} image files cannot be read, nothing was written:\n  "
            f"{list_some(lines)}\nRepair or remove them."
        )
    if problem:
        raise DataError(problem)
    sizes = sorted((header.size for header in headers), key=math.prod)
    return images, Originals(sizes[0], sizes[-1], tuple(_describe(files, headers, scale)))


def digest_files(root: Path, files: list[Path]) -> dict[str, str]:
    """Return one SHA-256 digest of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(available_cores()) as pool:
        for lines in pool.map(lambda chunk: _digest_lines(root, chunk), _chunks(files)):
            digest.update(lines)
    return {f"{root.name}/ ({len(files)} files)": digest.hexdigest()}


def _digest_lines(root: Path, files: list[Path]) -> bytes:
    lines = [f"{file.relative_to(root).as_posix()} {sha256_of(file)}\n" for file in files]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _chunks(files: list[Path]) -> list[list[Path]]:
    """Divide files into tasks of threads; a task per file would need more memory than its path."""
    return [files[i : i + FILES_PER_TASK] for i in range(0, len(files), FILES_PER_TASK)]


def _choose_levels(
    files: list[Path], headers: list[Header | None], scale: Scale
) -> tuple[Levels, str]:
    """Return the levels of images with more than 8 bits, and an error if there are none."""
    if isinstance(scale, tuple):
        return scale, ""
    deep = [header.levels for header in headers if header is not None and header.levels]
    if not deep:
        return (0, MAX_16_BIT), ""
    low, high = min(low for low, _ in deep), max(high for _, high in deep)
    if scale == "content":
        return (low, max(high, low + 1)), ""
    for file, header in zip(files, headers, strict=True):
        if header is not None and header.levels is not None:
            least, largest = header.levels
            if header.mode == "F" or least < 0 or largest > MAX_16_BIT:
                return (0, MAX_16_BIT), (
                    f"{printable(file)}: values from {least:g} to {largest:g} have no full range, "
                    f"because they are not 16-bit integers. Set data.scale to content (the values "
                    f"of all images, from {low:g} to {high:g}) or to [low, high]."
                )
    return (0, MAX_16_BIT), ""


def _describe(files: list[Path], headers: list[Header], scale: Scale) -> list[str]:
    """Return notes on frames that are not used, and on values that are lost."""
    notes = []
    kinds = {
        "several frames or pages, of which only the first is used": [h.frames for h in headers],
        "16 bits per color, of which only the upper 8 are used": [h.reduced for h in headers],
    }
    for kind, which in kinds.items():
        if any(which):
            first = printable(files[which.index(True)])
            notes.append(f"Images with {kind}: {sum(which):,} (first: {first}).")
    deep = [header.levels for header in headers if header.levels]
    if scale == "full" and deep:
        low, high = min(low for low, _ in deep), max(high for _, high in deep)
        if high - low < SMALL_RANGE * MAX_16_BIT:
            notes.append(
                f"The values of the 16-bit images are between {low:g} and {high:g}, a small part "
                f"of the range up to {MAX_16_BIT}: there is hardly any contrast. Set data.scale to "
                "content, or to [low, high]."
            )
    return notes


def _map_files(
    description: str, function: Callable[[Path], Result], files: list[Path], failures: Failures
) -> list[Result | None]:
    """Apply `function` to every file, in threads: Pillow decodes without holding Python's lock.

    Adds a reason to `failures`, and returns None, for each file for which it fails.
    """

    def attempt(file: Path) -> Result | None:
        try:
            return function(file)
        except Exception as error:  # Pillow's decoders raise errors of any type
            failures[file] = _reason(file, error)
            return None

    def attempt_all(chunk: list[Path]) -> list[Result | None]:
        return [attempt(file) for file in chunk]

    results: list[Result | None] = []
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(available_cores()) as pool,
        progress_bar(description, len(files), "images") as bar,
    ):
        warnings.simplefilter("ignore")  # such as damaged EXIF data
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for part in pool.map(attempt_all, _chunks(files)):
            results += part
            bar.advance(len(part))
    return results


def _reason(file: Path, error: Exception) -> str:
    """Describe why a file cannot be read, without repeating its name."""
    if isinstance(error, UnidentifiedImageError):
        empty = file.stat().st_size == 0
        return "the file is empty" if empty else "the content is not an image of a known format"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
