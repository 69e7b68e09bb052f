"""Statistics of a dataset, from which `latentlab init` derives settings; nothing is trained."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentlab.data.sources import RawDataset, read_dataset
from latentlab.params.schema import DataParams

MIN_SIZE, MAX_SIZE = 16, 32
"""Limits of the derived image size: four convolutions with stride 2 need 16 pixels, and the time of
all trainings grows with the area of the images."""
SAMPLE = 1000
"""Images that statistics are computed from, at most."""
EXPLAINED = 0.9
"""Share of the variance of the pixels that the counted principal components explain."""
COMPARED_COMPONENTS = 16
"""Principal components in which the distances between images are computed."""
MIRROR_TOLERANCE = 1.1
"""Mirror images may be this much farther from the nearest other image than images are, and their
nearest image may have the wrong class this much more often."""
FEW_ERRORS = 0.02
"""Share of wrong classes that is negligible."""
LOW_CONTRAST = 64
"""Range of gray values, of 256, below which images of 16 bits are scaled to their content."""


@dataclass(frozen=True)
class DataFacts:
    """What the rules know about a dataset.

    `classes` is 0 without labels. `train_images` and `smallest_class` count training images, as
    `fetch` would split them. `entropy` is that of the distribution of all pixel values, in bits.
    `components` is the number of principal components that explain 90% of the variance, and
    `mirrored` says whether mirror images look like other images of the same class, and `movable`
    whether images that are moved by a quarter of their size do.
    """

    data: DataParams
    images: int
    train_images: int
    classes: int
    smallest_class: int
    channels: int
    entropy: float
    components: int
    mirrored: bool
    movable: bool

    @property
    def size(self) -> int:
        """Width and height of the images in pixels."""
        return self.data.image_size

    @property
    def summary(self) -> str:
        """One line for the user and for the header of the profile."""
        of_each = f", at least {self.smallest_class:,} for training in each"
        classes = f"{self.classes} classes{of_each}" if self.classes else "no labels"
        return (
            f"{self.images:,} images, {self.size}x{self.size}, "
            f"{'RGB' if self.channels == 3 else 'gray'}; {classes}"
        )


def measure(data: DataParams, folder: Path, image_size: int | None) -> DataFacts:
    """Read the dataset and return its statistics; `data` contains its name and how it is read.

    Without an `image_size`, it is that of the smallest image, up to `MAX_SIZE`.
    """
    size = image_size or MAX_SIZE
    raw = _read(data, folder, size)
    smallest = min(raw.facts.smallest or (MAX_SIZE, MAX_SIZE))
    if image_size is None and smallest < MAX_SIZE:
        size = max(MIN_SIZE, smallest // 4 * 4)
        raw = _read(data, folder, size)
    scale = data.scale
    if scale == "full" and _range(raw) < LOW_CONTRAST:
        scaled = _read(data.model_copy(update={"scale": "content"}), folder, size)
        if _range(scaled) > _range(raw):  # only images of 16 bits change
            raw, scale = scaled, "content"
    found = data.model_copy(update={"image_size": size, "scale": scale})
    return facts_of(found, raw)


def facts_of(data: DataParams, raw: RawDataset) -> DataFacts:
    """Return the statistics of a dataset that was read with the parameters `data`."""
    images, labels = raw.splits["train"]
    kept = 1.0 if "test" in raw.splits else 1 - data.test_fraction
    kept *= 1.0 if "validation" in raw.splits else 1 - data.validation_fraction
    counts = np.bincount(labels, minlength=1)
    rows = np.random.default_rng(0).permutation(len(images))[:SAMPLE]
    sample, classes = np.asarray(images[np.sort(rows)]), labels[np.sort(rows)]
    mean, components, spectrum = _principal_components(sample)
    return DataFacts(
        data=data,
        images=sum(len(each) for each, _ in raw.splits.values()),
        train_images=max(1, int(len(images) * kept)),
        classes=len(raw.classes),
        smallest_class=int(counts.min() * kept) if raw.classes else 0,
        channels=images.shape[1],
        entropy=_entropy(sample),
        components=int(np.searchsorted(spectrum, EXPLAINED)) + 1,
        mirrored=_looks_alike(sample, sample[..., ::-1], classes, mean, components),
        movable=_looks_alike(sample, _moved(sample), classes, mean, components),
    )


def _read(data: DataParams, folder: Path, size: int) -> RawDataset:
    return read_dataset(
        data.name, size, data.channels, folder, data.fit, data.options, data.labels, data.scale
    )


def _range(raw: RawDataset) -> int:
    """Return the range of gray values between the darkest and the brightest percent."""
    images = raw.splits["train"][0][:SAMPLE]
    low, high = np.percentile(images, [1, 99])
    return int(high - low)


def _entropy(images: np.ndarray) -> float:
    shares = np.bincount(images.ravel(), minlength=256) / images.size
    shares = shares[shares > 0]
    return float((shares * np.log2(1 / shares)).sum())


def _principal_components(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean image [D], components [K, D], and the share of variance of the first k."""
    pixels = _flatten(images)
    mean = pixels.mean(0)
    _, singular, components = np.linalg.svd(pixels - mean, full_matrices=False)
    variances = singular.astype(np.float64) ** 2
    if not variances.any():  # all images are equal
        variances[0] = 1
    spectrum = variances.cumsum() / variances.sum()
    return mean, components[:COMPARED_COMPONENTS], spectrum


def _moved(images: np.ndarray) -> np.ndarray:
    """Return images moved by a quarter of their size along both axes, filled by reflection."""
    height, width = images.shape[-2:]
    pixels = height // 4
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, 0), (pixels, 0)), mode="reflect")
    return padded[..., :height, :width]


def _looks_alike(
    images: np.ndarray,
    changed: np.ndarray,
    labels: np.ndarray,
    mean: np.ndarray,
    components: np.ndarray,
) -> bool:
    """Return whether changed images are as close to other images of their class as the originals.

    Distances are those of the principal components, to the nearest image other than the original.
    """
    codes, others = ((_flatten(each) - mean) @ components.T for each in (images, changed))
    usual, of_usual = _nearest(codes, codes, labels)
    distance, of_changed = _nearest(others, codes, labels)
    close = distance <= MIRROR_TOLERANCE * usual
    return bool(close and of_changed <= MIRROR_TOLERANCE * of_usual + FEW_ERRORS)


def _nearest(codes: np.ndarray, others: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the median distance to the nearest of `others`, and the share of wrong classes.

    Code i is not compared with number i of `others`.
    """
    squared = (codes**2).sum(1)[:, None] + (others**2).sum(1) - 2 * codes @ others.T
    np.fill_diagonal(squared, np.inf)
    nearest = squared.argmin(1)
    distances = np.sqrt(np.maximum(squared.min(1), 0))
    return float(np.median(distances)), float((labels[nearest] != labels).mean())


def _flatten(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images).reshape(len(images), -1).astype(np.float32) / 255
