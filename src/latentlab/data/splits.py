"""Stratified splits into training, validation and test images, and stratified folds."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentlab.common.errors import DataError
from latentlab.common.progress import plural
from latentlab.data.duplicates import take_images
from latentlab.data.image_set import IMAGES_PER_BLOCK, ImageArray
from latentlab.data.sources import RawDataset

MIN_HELD_OUT = 4
"""Fewest held-out images: the real-data baseline of the generators needs a covariance per half."""


class Split:
    """Rows [N] of a dataset, numbered through all its splits; their pixels are copied when used."""

    def __init__(self, raw: RawDataset, rows: np.ndarray) -> None:
        images, labels = zip(*raw.splits.values(), strict=True)
        self._images = images
        self._rows = rows
        self.labels = take_images(labels, rows)
        """Labels [N]."""
        self.shape = (len(rows), *images[0].shape[1:])
        """Shape [N, C, S, S] of the images."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: slice | np.ndarray) -> np.ndarray:
        """Return a copy of some of the images."""
        return take_images(self._images, self._rows[indices])


def split_rows(
    raw: RawDataset,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the rows of "train", "validation" and "test", numbered through all splits of `raw`.

    Official splits are kept. Otherwise, the test split is `test_fraction` of the training images,
    and the validation split `validation_fraction` of the remaining ones. Raises DataError if there
    are too few images.

    Images with the same number in `groups` [N] get into one split. Where splits are drawn, the
    whole group is drawn. Of given splits, the test split keeps all images: it stays comparable.
    Images that it contains are left out of the others, and those of the validation split out of the
    training split.
    """
    labels = np.concatenate([labels for _, labels in raw.splits.values()])
    starts = np.cumsum([0, *(len(labels) for _, labels in raw.splits.values())])
    rows = {split: np.arange(*starts[i : i + 2]) for i, split in enumerate(raw.splits)}
    if groups is None:
        groups = np.arange(len(labels))
    else:
        used = np.zeros(0, int)
        for split in (each for each in ("test", "validation", "train") if each in rows):
            rows[split] = rows[split][~np.isin(groups[rows[split]], used)]
            used = np.union1d(used, groups[rows[split]])
        _check_classes_left(raw, labels[rows["train"]])
    for given, members in rows.items():
        if given != "train" and len(members) < MIN_HELD_OUT:
            raise DataError(
                f"the {given} split has {len(members)} images; at least {MIN_HELD_OUT} are "
                "needed. Add images, or remove the split, so that it is drawn from the training "
                "images."
            )
    for split, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if split not in rows:
            rows["train"], rows[split] = _hold_out(
                rows["train"], labels, groups, fraction, seed, raw.classes
            )
    return {split: rows[split] for split in ("train", "validation", "test")}


def _check_classes_left(raw: RawDataset, labels: np.ndarray) -> None:
    """Raise DataError if a class has lost all training images, because given splits have them."""
    lost = np.setdiff1d(raw.splits["train"][1], labels)
    if len(lost):
        names = (
            ", ".join(repr(raw.classes[label]) for label in lost) if raw.classes else "any class"
        )
        raise DataError(
            f"no training image of {names} is left: all of them equal images in the given test or "
            "validation split. Add images, or remove the duplicates from these splits."
        )


def _hold_out(
    rows: np.ndarray,
    all_labels: np.ndarray,
    groups: np.ndarray,
    fraction: float,
    seed: int,
    classes: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into the rest and a held-out `fraction`, each with images of every class.

    One image of each group is drawn, and the others follow it.
    """
    from sklearn.model_selection import train_test_split

    firsts = np.sort(np.unique(groups[rows], return_index=True)[1])
    labels = all_labels[rows[firsts]]
    present = np.bincount(all_labels[rows], minlength=len(classes)) > 0
    different = np.bincount(labels, minlength=len(classes))
    single = [name for name, bad in zip(classes, present & (different < 2), strict=False) if bad]
    if single:
        repeated = " Duplicates count once." if len(firsts) < len(rows) else ""
        raise DataError(
            f"too few images in class {', '.join(map(repr, single))}: only one is left for the "
            f"training and validation splits.{repeated} Add images, or decrease "
            "data.test_fraction."
        )
    least = max(len(classes), MIN_HELD_OUT)
    count = max(round(fraction * len(labels)), least)
    if count > len(labels) - max(len(classes), 1):
        kinds = f"in {plural(len(classes), 'class')}" if classes else "without classes"
        advice = ", or decrease data.test_fraction and data.validation_fraction"
        raise DataError(
            f"{plural(len(labels), 'image')} {kinds}, too few to hold out {count} (at least "
            f"{least}) for a split. Add images{advice if count > least else ''}."
        )
    rest, held_out = train_test_split(
        np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed
    )
    held_out, rest = _with_every_class(held_out, rest, labels)
    rest, held_out = _with_every_class(rest, held_out, labels)
    is_held_out = np.isin(groups[rows], groups[rows[firsts[held_out]]])
    return rows[~is_held_out], rows[is_held_out]


def _with_every_class(
    part: np.ndarray, rest: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move one image of each class that `part` lacks from `rest` to `part`; return both sorted.

    A class much smaller than the others has a share of less than half an image.
    """
    missing = np.setdiff1d(labels[rest], labels[part])
    moved = [rest[labels[rest] == label].min() for label in missing]
    return np.union1d(part, moved).astype(part.dtype), np.setdiff1d(rest, moved)


def statistics(images: ImageArray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation per channel of uint8 images [N, C, S, S], in [0, 1].

    They are computed from the histogram of the 256 values: exact, and in constant memory.
    """
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[1], 256))
    for start in range(0, len(images), IMAGES_PER_BLOCK):
        block = images[start : start + IMAGES_PER_BLOCK]
        for channel, histogram in enumerate(counts):
            histogram += np.bincount(block[:, channel].reshape(-1), minlength=256)
    means, deviations = [], []
    for histogram in counts:
        frequency = histogram / histogram.sum()
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
