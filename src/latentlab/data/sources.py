"""Finding a dataset by name and reading it whole: files checked first, then decoded."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.data.catalogue import KNOWN, KnownDataset
from latentlab.data.download import download
from latentlab.data.folders import digest_files, list_classes, read_folder, resize_images
from latentlab.data.idx import read_idx

LARGEST_FILE = 1 << 31
"""Most bytes of pixels accepted from one IDX file."""


@dataclass(frozen=True)
class RawDataset:
    """A dataset as it came: uint8 images [N, C, S, S] and labels [N] per official split."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    sha256: dict[str, str]


def read_dataset(name: str, image_size: int, channels: int | str, data_folder: Path) -> RawDataset:
    """Find, check and decode the dataset `name`.

    Looked for in `data_folder/name`, `$LATENTLAB_DATA/name`, the per-user cache, then the
    mirrors; your own images in `data_folder` alone. Raises DataError when it is nowhere, or when a
    file is not what it should be.
    """
    folder = locate(name, data_folder)
    if name in KNOWN:
        return _read_known(name, KNOWN[name], folder, image_size, channels)
    classes = list_classes(folder)
    images, labels = read_folder(classes, image_size, channels)
    files = [file for members in classes.values() for file in members]
    return RawDataset(tuple(classes), {"train": (images, labels)}, digest_files(folder, files))


def locate(name: str, data_folder: Path) -> Path:
    """The folder that holds the dataset, after a download if need be."""
    if (folder := find(name, data_folder)) is not None:
        return folder
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("latentlab")) / name
    download(name, KNOWN[name], cache)
    return cache


def find(name: str, data_folder: Path) -> Path | None:
    """The folder of this machine that holds the dataset, None where it can be downloaded."""
    places = [data_folder / name]
    if elsewhere := os.environ.get("LATENTLAB_DATA"):  # an empty one: the working directory
        places.append(Path(elsewhere) / name)
    for place in places:
        if place.is_dir():
            if name not in KNOWN and place.parent != data_folder:
                raise DataError(
                    f"data.name = '{name}': {place} holds your own images, and DVC would not see "
                    f"them change there; move them to {places[0]} and type `dvc add data`"
                )
            return place
    if elsewhere and not Path(elsewhere).is_dir():
        raise DataError(f"LATENTLAB_DATA = '{elsewhere}' is no folder; name one, or unset it")
    if name not in KNOWN:
        raise _not_found(name, places)
    if not KNOWN[name].mirrors:
        raise DataError(f"{places[0]} is missing; fetch it with `dvc pull data.dvc`")
    return None


def _not_found(name: str, places: list[Path]) -> DataError:
    known = set(KNOWN)
    for place in places:
        if place.parent.is_dir():
            known |= {sub.name for sub in place.parent.iterdir() if sub.is_dir()}
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    looked = ", ".join(str(place) for place in places)
    return DataError(
        f"data.name = '{name}': no such dataset; {hint}looked for {looked}; "
        f"found {', '.join(sorted(known))}. "
        f"For your own images, put them into {places[0]}/<class>/*.png"
    )


def _read_known(
    name: str, dataset: KnownDataset, folder: Path, image_size: int, channels: int | str
) -> RawDataset:
    if channels == 3:
        raise DataError(f"data.channels = 3, but {name} is grey; allowed: auto, 1")
    check_files(name, folder)
    splits = {}
    for split, (image_file, label_file) in dataset.splits.items():
        images = read_idx(folder / image_file, 3, LARGEST_FILE)
        labels = read_idx(folder / label_file, 1, LARGEST_FILE)
        _check_content(folder, image_file, images, label_file, labels, dataset)
        images = resize_images(_scaled(images, dataset.white), image_size)
        splits[split] = (images, labels.astype(np.int64))
    return RawDataset(dataset.classes, splits, dict(dataset.sha256))


def check_files(name: str, folder: Path) -> None:
    """DataError where the files of a known dataset are not the official ones."""
    dataset = KNOWN[name]
    faults = []
    for file_name, expected in dataset.sha256.items():
        path = folder / file_name
        if not path.is_file():
            faults.append(f"{path}: missing")
        elif (found := sha256_of(path)) != expected:
            faults.append(f"{path}: SHA-256 is {found}, should be {expected}")
    if faults:
        mend = (
            f"put those into {folder}, or delete that folder to have them downloaded"
            if dataset.mirrors
            else "`dvc checkout --force data.dvc` brings them back"
        )
        raise DataError(
            f"{name}: files are not the official ones; {mend}:\n  " + "\n  ".join(faults)
        )


def _check_content(
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


def _scaled(images: np.ndarray, white: int) -> np.ndarray:
    """Stretch 0..white to 0..255; one to one, so nothing is lost."""
    if white == 255:
        return images
    return np.round(images.astype(np.float32) * (255 / white)).astype(np.uint8)
