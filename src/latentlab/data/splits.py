"""Stratified splits into training, validation and test images, and stratified folds."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentlab.common.errors import DataError
from latentlab.data.sources import RawDataset

MIN_HELD_OUT = 4
"""Fewest held-out images: the real-data baseline of the generators needs a covariance per half."""

Split = tuple[np.ndarray, np.ndarray]
"""Images [N, C, S, S] and labels [N]."""


def make_splits(
    raw: RawDataset, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, Split]:
    """Return the splits "train", "validation" and "test"; each image is in exactly one of them.

    Official splits are kept. Otherwise, the test split is `test_fraction` of the training images,
    and the validation split `validation_fraction` of the remaining ones. Raises DataError if there
    are too few images.
    """
    train = raw.splits["train"]
    if "test" in raw.splits:
        test = raw.splits["test"]
    else:
        train, test = _hold_out(train, test_fraction, seed, raw.classes)
    if "validation" in raw.splits:
        validation = raw.splits["validation"]
    else:
        train, validation = _hold_out(train, validation_fraction, seed, raw.classes)
    return {"train": train, "validation": validation, "test": test}


def _hold_out(
    split: Split, fraction: float, seed: int, classes: tuple[str, ...]
) -> tuple[Split, Split]:
    """Split into the rest and a held-out `fraction`, in order, each with images of every class."""
    from sklearn.model_selection import train_test_split

    images, labels = split
    counts = np.bincount(labels)
    single = [name for name, count in zip(classes, counts, strict=False) if count == 1]
    if single:
        raise DataError(
            f"too few images in class {', '.join(map(repr, single))}: only one is left for the "
            "training and validation splits. Add images, or decrease data.test_fraction."
        )
    count = max(round(fraction * len(labels)), len(classes), MIN_HELD_OUT)
    if count > len(labels) - max(len(classes), 1):
        kinds = f"in {len(classes)} classes" if classes else "without classes"
        raise DataError(
            f"{len(labels)} images {kinds} are too few to hold out {count}. Add images, or "
            "decrease data.test_fraction and data.validation_fraction."
        )
    rest, held_out = train_test_split(
        np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed
    )
    held_out, rest = _with_every_class(held_out, rest, labels)
    rest, held_out = _with_every_class(rest, held_out, labels)
    return (images[rest], labels[rest]), (images[held_out], labels[held_out])


def _with_every_class(
    part: np.ndarray, rest: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move one image of each class that `part` lacks from `rest` to `part`; return both sorted.

    A class much smaller than the others has a share of less than half an image.
    """
    missing = np.setdiff1d(labels[rest], labels[part])
    moved = [rest[labels[rest] == label].min() for label in missing]
    return np.union1d(part, moved).astype(part.dtype), np.setdiff1d(rest, moved)


def statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation per channel of uint8 images [N, C, S, S], in [0, 1].

    They are computed from the histogram of the 256 values: exact, and in constant memory.
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
    """Raise DataError if a class of labels [N] has fewer images than there are folds."""
    counts = labels.bincount()
    fewest = int(counts[counts > 0].min())
    if fewest < folds:
        raise DataError(
            f"folds = {folds}, but a class has only {fewest} training images; "
            f"allowed: 2 to {fewest}"
        )


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the indices of the training and the held-out images of each fold of labels [N]."""
    from sklearn.model_selection import StratifiedKFold

    check_folds(labels, folds)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for training, held_out in parts:
        yield torch.from_numpy(training), torch.from_numpy(held_out)
