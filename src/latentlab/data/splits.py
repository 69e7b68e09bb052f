"""Train, validation and test: the official test split where there is one, else stratified."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentlab.common.errors import DataError
from latentlab.data.sources import RawDataset

FEWEST_HELD_OUT = 4
"""Fewer images have no covariance on either half, which the floor of the generators needs."""


def make_splits(
    raw: RawDataset, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images [N, C, S, S] and labels [N] of each split; every image lands in exactly one.

    `validation_fraction` is of what is not test, `test_fraction` of all images and used only
    where the dataset has no official test split.
    """
    images, labels = raw.splits["train"]
    if "test" in raw.splits:
        test = raw.splits["test"]
    else:
        images, labels, *test = _stratified(images, labels, test_fraction, seed, raw.classes)
    images, labels, *validation = _stratified(
        images, labels, validation_fraction, seed, raw.classes
    )
    return {"train": (images, labels), "validation": tuple(validation), "test": tuple(test)}


def _stratified(
    images: np.ndarray, labels: np.ndarray, fraction: float, seed: int, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split off `fraction`; both parts have an image of every class, and keep the order."""
    from sklearn.model_selection import train_test_split

    single = [classes[label] for label in np.flatnonzero(np.bincount(labels) == 1)]
    if single:
        raise DataError(
            f"too few images to split in class {', '.join(map(repr, single))}: one is left; "
            "add images, or lower data.test_fraction"
        )
    taken = max(round(fraction * len(labels)), len(classes), FEWEST_HELD_OUT)
    if taken > len(labels) - len(classes):
        raise DataError(
            f"{len(labels)} images in {len(classes)} classes are too few to split off {taken}"
        )
    kept, held_out = train_test_split(
        np.arange(len(labels)), test_size=taken, stratify=labels, random_state=seed
    )
    held_out, kept = _with_every_class(held_out, kept, labels)
    kept, held_out = _with_every_class(kept, held_out, labels)
    return images[kept], labels[kept], images[held_out], labels[held_out]


def _with_every_class(
    part: np.ndarray, rest: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move an image of each class that `part` lacks over from `rest`; both sorted.

    A class much smaller than the others has less than half an image as its share.
    """
    lacking = np.setdiff1d(labels[rest], labels[part])
    moved = [rest[labels[rest] == label].min() for label in lacking]
    return np.union1d(part, moved).astype(part.dtype), np.setdiff1d(rest, moved)


def statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of uint8 images [N, C, S, S], in [0, 1].

    Exact, from the histogram of the 256 values, in constant memory.
    """
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256)
        for start in range(0, len(images), 4096):
            block = images[start : start + 4096, channel]
            counts += np.bincount(block.reshape(-1), minlength=256)
        frequency = counts / counts.sum()
        mean = float(frequency @ values)
        means.append(mean)
        deviations.append(float(np.sqrt(frequency @ (values - mean) ** 2)))
    return means, deviations


def check_folds(labels: Tensor, folds: int) -> None:
    """Raise DataError where a class of labels [N] has fewer images than there are folds."""
    fewest = int(labels.unique(return_counts=True)[1].min())
    if fewest < folds:
        raise DataError(
            f"folds = {folds}, but a class has only {fewest} training images; "
            f"allowed: 2 to {fewest}"
        )


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices to train on and indices held out, for each of `folds` parts of labels [N]."""
    from sklearn.model_selection import StratifiedKFold

    check_folds(labels, folds)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for kept, held_out in parts:
        yield torch.from_numpy(kept), torch.from_numpy(held_out)
