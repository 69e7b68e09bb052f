"""Locating a dataset by name, verifying its files and decoding them."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.data.catalog import KNOWN, KnownDataset
from latentlab.data.decoding import Fit, resize_images
from latentlab.data.download import download
from latentlab.data.files import printable
from latentlab.data.folders import list_images
from latentlab.data.idx import read_idx
from latentlab.data.reading import Scale, digest_files, read_files
from latentlab.data.torchvision_catalog import find_torchvision
from latentlab.data.torchvision_download import download_torchvision
from latentlab.data.torchvision_reader import read_torchvision

MAX_IDX_BYTES = 1 << 31
"""Largest number of pixels that is accepted in one IDX file."""


@dataclass(frozen=True)
class SourceFacts:
    """What is known about the source of a dataset, for its data card.

    `smallest` and `largest` are width and height of original images, `ignored` the number of files
    that were not read by reason, and `names` the names of the images of each split, in their order.
    """

    source: str = ""
    license: str = ""
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class RawDataset:
    """A dataset before it is split: uint8 images [N, C, S, S] and labels [N] per official split.

    The split "train" is always there, "validation" and "test" may be. Without labels, `classes` is
    empty and all labels are 0. `notes` are messages for the user. The splits of a `published`
    dataset stay as they are, so that results remain comparable. Those of other datasets must not
    share duplicates.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    sha256: dict[str, str]
    published: bool = True
    facts: SourceFacts = field(default_factory=SourceFacts)
    notes: tuple[str, ...] = ()


def read_dataset(
    name: str,
    image_size: int,
    channels: int | Literal["auto"],
    data_folder: Path,
    fit: Fit = "crop",
    options: Mapping[str, str | int] | None = None,
    labels: str = "folders",
    scale: Scale = "full",
) -> RawDataset:
    """Locate, verify and decode the dataset `name`; the arguments are parameters of `data`.

    A dataset of the catalog or of torchvision is searched in `data_folder/name`,
    `$LATENTLAB_DATA/name` and the per-user cache, and otherwise downloaded. An image folder must be
    in `data_folder`. `options` are arguments of a dataset of torchvision. Raises DataError if the
    dataset is not found, or if a file is damaged or not the official one.
    """
    folder = locate(name, data_folder, options)
    if name in KNOWN:
        raw = _read_known(name, KNOWN[name], folder, image_size, channels)
        return _relabel(name, raw, labels)
    if entry := find_torchvision(name):
        parts = read_torchvision(name, folder, options or {}, image_size, channels, fit)
        facts = SourceFacts(name.replace("/", ".datasets."), entry.license)
        return _relabel(name, RawDataset(*parts, facts=facts), labels)
    return _read_folder(folder, image_size, channels, fit, labels, scale)


def _relabel(name: str, raw: RawDataset, labels: str) -> RawDataset:
    """Return a dataset that has labels of its own with or without them."""
    if labels not in ("folders", "none"):
        raise DataError(
            f"data.labels = {labels!r}, but {name} has labels of its own; allowed: folders, none"
        )
    if labels == "folders":
        return raw
    splits = {split: (images, np.zeros_like(old)) for split, (images, old) in raw.splits.items()}
    return replace(raw, classes=(), splits=splits)


def _read_folder(
    folder: Path,
    image_size: int,
    channels: int | Literal["auto"],
    fit: Fit,
    labels: str,
    scale: Scale,
) -> RawDataset:
    """Read a folder of images; its splits are parts of one array."""
    listing = list_images(folder, labels)
    files = [file for pairs in listing.splits.values() for file, _ in pairs]
    images, originals = read_files(files, image_size, channels, scale, fit)
    splits, start = {}, 0
    for split, pairs in listing.splits.items():
        end = start + len(pairs)
        splits[split] = images[start:end], np.array([label for _, label in pairs], np.int64)
        start = end
    digests = digest_files(folder, [*files, *listing.sources])
    facts = SourceFacts(
        f"folder data/{folder.name}",
        smallest=originals.smallest,
        largest=originals.largest,
        ignored=listing.ignored,
        names={
            split: [printable(file.relative_to(folder).as_posix()) for file, _ in pairs]
            for split, pairs in listing.splits.items()
        },
    )
    notes = (*listing.notes, *originals.notes)
    return RawDataset(listing.classes, splits, digests, False, facts, notes)


def locate(name: str, data_folder: Path, options: Mapping[str, str | int] | None = None) -> Path:
    """Return the folder of the dataset, after downloading it to the per-user cache if necessary."""
    if (folder := find_local(name, data_folder)) is not None:
        return folder
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("latentlab")) / name
    if find_torchvision(name):
        download_torchvision(name, options or {}, cache)
    else:
        download(name, KNOWN[name], cache)
    return cache


def find_local(name: str, data_folder: Path) -> Path | None:
    """Return the local folder of the dataset, or None if it is to be downloaded or in the cache.

    Raises DataError if the dataset is neither found nor available for download.
    """
    candidates = [data_folder / name]
    from_torchvision = find_torchvision(name) is not None
    shared = os.environ.get("LATENTLAB_DATA")  # if empty, it would mean the working directory
    if shared:
        candidates.append(Path(shared) / name)
    for folder in candidates:
        if folder.is_dir():
            own = name not in KNOWN and not from_torchvision
            if own and folder.parent != data_folder:
                raise DataError(
                    f"data.name = '{name}': {folder} contains your own images, and DVC does not "
                    f"notice changes there. Move them to {candidates[0]} and run `dvc add data`."
                )
            return folder
    if shared and not Path(shared).is_dir():
        raise DataError(
            f"LATENTLAB_DATA = '{shared}' is not a folder. Set it to an existing folder, or unset "
            "it."
        )
    if from_torchvision:
        return None
    if name not in KNOWN:
        raise _not_found(name, candidates)
    if not KNOWN[name].mirrors:
        raise DataError(f"{candidates[0]} is missing. Run `dvc pull data.dvc` to restore it.")
    return None


def _not_found(name: str, candidates: list[Path]) -> DataError:
    available = set(KNOWN)
    for folder in candidates:
        if folder.parent.is_dir():
            available |= {sub.name for sub in folder.parent.iterdir() if sub.is_dir()}
    close = difflib.get_close_matches(name, sorted(available), n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return DataError(
        f"data.name = '{name}': no such dataset in {' or '.join(map(str, candidates))}. "
        f"Available: {', '.join(sorted(available))}.{hint} "
        f"To use your own images, put them into {candidates[0]}/."
    )


def _read_known(
    name: str, dataset: KnownDataset, folder: Path, image_size: int, channels: int | Literal["auto"]
) -> RawDataset:
    if channels == 3:
        raise DataError(f"data.channels = 3, but the images of {name} are gray; allowed: auto, 1")
    check_files(name, folder)
    splits = {}
    for split, (image_file, label_file) in dataset.splits.items():
        images = read_idx(folder / image_file, 3, MAX_IDX_BYTES)
        labels = read_idx(folder / label_file, 1, MAX_IDX_BYTES)
        _check_labels(folder, image_file, images, label_file, labels, dataset)
        images = resize_images(_rescale(images, dataset.white), image_size)
        splits[split] = (images, labels.astype(np.int64))
    facts = SourceFacts(dataset.source, dataset.license)
    return RawDataset(dataset.classes, splits, dict(dataset.sha256), facts=facts)


def check_files(name: str, folder: Path) -> None:
    """Raise DataError if files of a dataset are missing or not the official ones."""
    dataset = KNOWN[name]
    errors = []
    for file_name, expected in dataset.sha256.items():
        path = folder / file_name
        if not path.is_file():
            errors.append(f"{path}: missing")
        elif (actual := sha256_of(path)) != expected:
            errors.append(f"{path}: SHA-256 is {actual}, expected {expected}")
    if errors:
        advice = (
            f"Put the official files into {folder}, or delete the folder to download them again."
            if dataset.mirrors
            else "Run `dvc checkout --force data.dvc` to restore them."
        )
        raise DataError(
            f"{name}: files are missing or not the official ones:\n  "
            + "\n  ".join(errors)
            + f"\n{advice}"
        )


def _check_labels(
    folder: Path,
    image_file: str,
    images: np.ndarray,
    label_file: str,
    labels: np.ndarray,
    dataset: KnownDataset,
) -> None:
    if len(images) != len(labels):
        raise DataError(
            f"{folder / image_file} has {len(images)} images, "
            f"but {folder / label_file} has {len(labels)} labels"
        )
    if labels.size and labels.max() >= len(dataset.classes):
        raise DataError(
            f"{folder / label_file}: label {labels.max()} is out of range; "
            f"allowed: 0 to {len(dataset.classes) - 1}"
        )


def _rescale(images: np.ndarray, white: int) -> np.ndarray:
    """Map 0..white to 0..255; different values stay different."""
    if white == 255:
        return images
    return np.round(images.astype(np.float32) * (255 / white)).astype(np.uint8)
