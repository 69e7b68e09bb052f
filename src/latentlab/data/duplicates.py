"""Equal and nearly equal images of a dataset.

Near duplicates are found by the low frequencies of the discrete cosine transform, from which the
perceptual hash pHash (Zauner 2010) is made. They are compared without rounding them to bits: simple
images, such as digits, often have equal hashes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentlab.common.progress import Bar, progress_bar

TOLERANCE = 0.1
"""Near duplicates: the root mean square of their difference is at most this share of the contrast,
which is the smaller standard deviation of their gray values. Equal to a correlation of 0.995."""
MIN_CONTRAST = 2.0
"""Smallest standard deviation of the 256 gray values at which near duplicates are looked for."""
FREQUENCIES = 6
"""Frequencies per axis that are compared."""
BLOCK = 512
"""Images that are compared at once, with all that may be similar: limits the memory."""


@dataclass(frozen=True)
class DuplicateReport:
    """Duplicates in a dataset.

    `equal` images equal an earlier one, and `similar` ones are near duplicates of an earlier one.
    `across` groups have images in several splits, `left_out` images are in no split, and the images
    of a group in `conflicts` have different labels.
    """

    equal: int
    similar: int
    across: int
    left_out: int
    conflicts: list[list[int]]


def report_duplicates(
    equal: np.ndarray, groups: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray]
) -> DuplicateReport:
    """Count the duplicates among images [N] with labels [N]; `splits` has the rows of each split.

    `equal` and `groups` are the results of `equal_groups` and `similar_groups`.
    """
    rows = np.arange(len(groups))
    split = np.full(len(groups), -1)
    for number, members in enumerate(splits.values()):
        split[members] = number
    across, conflicts = 0, []
    repeated = np.flatnonzero(np.isin(groups, groups[groups != rows]))
    repeated = repeated[groups[repeated].argsort(kind="stable")]
    _, firsts = np.unique(groups[repeated], return_index=True)
    for members in np.split(repeated, firsts[1:]):
        across += len(set(split[members].tolist()) - {-1}) > 1
        if len(set(labels[members].tolist())) > 1:
            conflicts.append(members.tolist())
    is_equal = equal != rows
    similar = int(((groups != rows) & ~is_equal).sum())
    return DuplicateReport(int(is_equal.sum()), similar, across, int((split < 0).sum()), conflicts)


def equal_groups(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the index of the first image that equals each image [N].

    `parts` are uint8 images [Ni, C, S, S], numbered through all parts.
    """
    first: dict[bytes, int] = {}
    images = (image for part in parts for image in np.ascontiguousarray(part))
    digests = (hashlib.blake2b(image, digest_size=16).digest() for image in images)
    return np.array([first.setdefault(digest, index) for index, digest in enumerate(digests)])


def similar_groups(parts: Sequence[np.ndarray], equal: np.ndarray) -> np.ndarray:
    """Return groups [N] of equal and nearly equal images, each named by its first index.

    `equal` is the result of `equal_groups`. Near duplicates of one image are in one group, also if
    they differ more from each other. The difference in a few frequencies is at most the difference
    in all pixels. Therefore, no near duplicate is missed.
    """
    groups = equal.copy()
    candidates = np.flatnonzero(equal == np.arange(len(equal)))
    features, contrast = _low_frequencies(parts)
    candidates = candidates[contrast[candidates] >= MIN_CONTRAST]
    if not len(candidates):
        return groups
    # sorted by the most variable frequency, similar images are close together
    widest = features[candidates].var(0).argmax()
    candidates = candidates[features[candidates, widest].argsort(kind="stable")]

    with progress_bar("find duplicates", len(candidates), "images") as bar:
        for row, close in _close_pairs(features[candidates], int(widest), bar):
            index, others = candidates[row], candidates[close]
            others = others[groups[others] != groups[index]]
            if matches := [*_matches(parts, contrast, index, others)]:
                merged = np.unique(groups[[index, *matches]])
                groups[np.isin(groups, merged)] = merged[0]
    return groups


def _matches(
    parts: Sequence[np.ndarray], contrast: np.ndarray, index: int, others: np.ndarray
) -> Iterator[int]:
    """Yield those of `others` that are near duplicates of the image at `index`, by all pixels."""
    image = take_images(parts, np.array([index])).astype(np.float32)
    for start in range(0, len(others), BLOCK):
        rows = others[start : start + BLOCK]
        distances = np.sqrt(((take_images(parts, rows) - image) ** 2).mean((1, 2, 3)))
        yield from rows[distances <= TOLERANCE * np.minimum(contrast[rows], contrast[index])]


def take_images(parts: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Return the elements of `rows`, which are numbered through all parts [Ni, ...]."""
    starts = np.cumsum([0, *map(len, parts)])
    owners = np.searchsorted(starts, rows, side="right") - 1
    if len(set(owners.tolist())) == 1:
        return np.asarray(parts[owners[0]][rows - starts[owners[0]]])
    shape = (len(rows), *parts[0].shape[1:])
    taken = np.empty(shape, parts[0].dtype)
    for number, part in enumerate(parts):
        taken[owners == number] = part[rows[owners == number] - starts[number]]
    return taken


def _low_frequencies(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return features [N, F] of the gray images, and their standard deviations [N].

    The features are coefficients of an orthonormal transform of the image divided by its standard
    deviation and by its number of pixels per side.
    """
    from scipy.fft import dct

    size = parts[0].shape[-1]
    basis = dct(np.eye(size), axis=0, norm="ortho")[:FREQUENCIES]
    matrix = np.kron(basis, basis)[1:].T.astype(np.float32) / size  # without the mean
    features, contrast = [], []
    for part in parts:
        for start in range(0, len(part), BLOCK):
            block = part[start : start + BLOCK].mean(1, dtype=np.float32).reshape(-1, size**2)
            deviations = block.std(1)
            features.append(block @ matrix / np.maximum(deviations, MIN_CONTRAST)[:, None])
            contrast.append(deviations)
    return np.concatenate(features), np.concatenate(contrast)


def _close_pairs(
    features: np.ndarray, sorted_by: int, bar: Bar
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rows of features [N, F] with all later rows at a distance up to TOLERANCE.

    The rows are sorted by one feature, so only blocks with similar values of it are compared.
    """
    limit = TOLERANCE * 1.001  # rounding
    # half the squared distance of a and b is |a|^2 / 2 + |b|^2 / 2 - a b: one matrix product
    halves, ones = (features**2).sum(1, keepdims=True) / 2, np.ones((len(features), 1), np.float32)
    left, right = np.hstack([-features, halves, ones]), np.hstack([features, ones, halves])
    values = features[:, sorted_by]
    for start in range(0, len(features), BLOCK):
        stop = np.searchsorted(values, values[start : start + BLOCK][-1] + limit, side="right")
        close = left[start : start + BLOCK] @ right[start:stop].T <= limit**2 / 2
        rows, others = np.nonzero(close)
        rows, others = rows[others > rows], others[others > rows]
        rows, firsts = np.unique(rows, return_index=True)
        for row, members in zip(rows, np.split(others, firsts[1:]), strict=False):
            yield start + int(row), start + members
        bar.advance(len(close))
