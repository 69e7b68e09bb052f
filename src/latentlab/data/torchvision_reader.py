"""Decoding of the datasets of torchvision."""

import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.common.processes import available_cores
from latentlab.common.progress import progress_bar
from latentlab.data.decoding import Fit, fit_images
from latentlab.data.torchvision_catalog import PREFIX, TORCHVISION, TorchvisionDataset
from latentlab.data.torchvision_download import Options, check_packages, torchvision_class

IMAGES_PER_TASK = 64
MAX_LISTED_FAILURES = 5

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
"""Images [N, C, S, S] and labels [N] of each split."""


def read_torchvision(
    name: str,
    folder: Path,
    options: Options,
    image_size: int,
    channels: int | Literal["auto"],
    fit: Fit,
) -> tuple[tuple[str, ...], Splits, dict[str, str]]:
    """Decode all official splits: return class names, splits and SHA-256 digests.

    Classes without images are left out. There is one digest per split, of its decoded images and
    labels, because torchvision does not report which files it reads; and one of an archive that
    contains pickles. Raises DataError if files are missing, damaged or not the official ones.
    """
    entry = TORCHVISION[name.removeprefix(PREFIX)]
    splits: Splits = {}
    digests = {}
    names: list[str] = []
    depth = 0
    if entry.pickled:
        digests[torchvision_class(name).filename] = entry.pickled
    with _verified_root(name, entry, folder) as root:
        for split, arguments in entry.splits.items():
            dataset = _open(name, root, {**arguments, **options})
            if not depth:
                names = _class_names(entry, dataset)
                depth = _depth(dataset) if channels == "auto" else channels
            images, labels, digest = _decode(
                f"{name} {split}", dataset, image_size, depth, fit, entry.transposed
            )
            del dataset  # it may hold all its images, and the next one does too
            splits[split] = (images, labels)
            digests[f"{name} {split} ({len(labels)} images)"] = digest
    return (*_used_classes(name, names, splits), digests)


@contextmanager
def _verified_root(name: str, entry: TorchvisionDataset, folder: Path) -> Iterator[Path]:
    """Yield the folder that torchvision reads.

    Pickle files can run any code when they are opened. They are extracted from the archive with the
    pinned SHA-256 into a temporary folder; extracted files in `folder` are ignored.
    """
    if not entry.pickled:
        yield folder
        return
    from torchvision.datasets.utils import extract_archive

    archive = folder / torchvision_class(name).filename
    if not archive.is_file():
        raise DataError(
            f"{name}: {archive} is missing. Its files are pickles, which are opened only from the "
            f"official archive. Put it there, or delete {folder} to download it."
        )
    if (actual := sha256_of(archive)) != entry.pickled:
        raise DataError(
            f"{name}: SHA-256 of {archive} is {actual}, expected {entry.pickled}. It contains "
            "pickles and was not opened. Replace it by the official archive, or delete "
            f"{folder} to download it again."
        )
    with tempfile.TemporaryDirectory(prefix="latentlab-") as temporary:
        extract_archive(archive, temporary)
        yield Path(temporary)


def _open(name: str, root: Path, arguments: Options) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # about details of old file formats
            return torchvision_class(name)(root, **arguments, download=False)
    except Exception as error:  # readers of damaged files raise errors of any type
        check_packages(name, error)
        raise DataError(
            f"{name}: torchvision cannot read {root}: {error}\nPut the complete files there, or "
            "delete the folder to download them again."
        ) from None


def _class_names(entry: TorchvisionDataset, dataset: Any) -> list[str]:
    """Return the names of the classes; none if torchvision has none."""
    names = entry.classes or getattr(dataset, "classes", getattr(dataset, "categories", ()))
    return [each if isinstance(each, str) else each[0] for each in names]  # or synonyms


def _depth(dataset: Any) -> int:
    """Return 1 if all images are gray, otherwise 3."""
    return 1 if all(dataset[index][0].mode in ("1", "L") for index in range(len(dataset))) else 3


def _decode(
    title: str, dataset: Any, image_size: int, channels: int, fit: Fit, transposed: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return all images [N, C, S, S], their labels [N], and a SHA-256 digest of both.

    The digest is of the decoded images before they are resized.
    """
    count = len(dataset)
    images = np.empty((count, channels, image_size, image_size), np.uint8)
    labels = np.empty(count, np.int64)
    digests: list[bytes] = [b""] * count
    failures: list[str] = []

    def decode(start: int) -> int:
        indices = range(start, min(start + IMAGES_PER_TASK, count))
        for index in indices:
            try:
                image, labels[index] = dataset[index]
                digests[index] = _digest(image, labels[index])
                images[index] = _fitted(image, image_size, channels, fit, transposed)
            except Exception as error:  # Pillow's decoders raise errors of any type
                failures.append(f"image {index}: {error}")
        return len(indices)

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(available_cores()) as pool,
        progress_bar(f"read {title}", count, "images") as bar,
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for done in pool.map(decode, range(0, count, IMAGES_PER_TASK)):
            bar.advance(done)
    if failures:
        raise DataError(
            f"{title}: {len(failures)} of {count} images cannot be read, nothing was written:\n  "
            + "\n  ".join(sorted(failures)[:MAX_LISTED_FAILURES])
            + "\nRepair or replace the files."
        )
    return images, labels, hashlib.sha256(b"".join(digests)).hexdigest()


def _digest(image: Image.Image, label: int) -> bytes:
    header = f"{image.mode} {image.size} {label} ".encode()
    return hashlib.sha256(header + image.tobytes()).digest()


def _fitted(
    image: Image.Image, image_size: int, channels: int, fit: Fit, transposed: bool
) -> np.ndarray:
    """Return an image as uint8 [C, S, S]."""
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    if transposed:
        pixels = pixels.transpose(0, 2, 1)
    return fit_images(torch.from_numpy(pixels), image_size, fit).numpy()


def _used_classes(name: str, names: list[str], splits: Splits) -> tuple[tuple[str, ...], Splits]:
    """Return the names of the classes that have images, and the splits with labels of these."""
    used = np.unique(np.concatenate([labels for _, labels in splits.values()]))
    classes = tuple(names[label] if label < len(names) else str(label) for label in used)
    missing = np.setdiff1d(used, splits["train"][1])
    if len(missing):
        raise DataError(
            f"{name}: no training images of {len(missing)} of {len(used)} classes. The files are "
            "incomplete; delete their folder to download them again."
        )
    renumbered = {
        split: (images, np.searchsorted(used, labels)) for split, (images, labels) in splits.items()
    }
    return classes, renumbered
