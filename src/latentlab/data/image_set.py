"""Image sets as the stages read them: memory-mapped uint8 pixels, converted to float in batches."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path, read_json, write_json

IMAGES_PER_BLOCK = 256
"""Images that are copied at once while a split is written."""
ROTATIONS = ("0°", "90°", "180°", "270°")
"""Names of the labels: counterclockwise rotations by quarter turns."""


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a dataset, stored in `dataset.json` by `fetch`.

    `image_shape` is [C, S, S] and `sizes` the number of images per split. `mean` and `std` are per
    channel over the training split, with pixels in [0, 1]. `sha256` maps raw files to digests;
    `digest` covers all of them and the section `data` of `params.yaml`.
    """

    name: str
    classes: list[str]
    image_shape: list[int]
    sizes: dict[str, int]
    mean: list[float]
    std: list[float]
    sha256: dict[str, str]
    digest: str

    @property
    def labeled(self) -> bool:
        """Whether there are class labels; if not, `classes` is empty and all labels are 0."""
        return bool(self.classes)

    def write(self, folder: Path) -> None:
        """Write `dataset.json` to `folder`."""
        write_json(folder / "dataset.json", asdict(self))


@dataclass(frozen=True)
class ImageSet:
    """Images [N, C, S, S] as uint8 and labels [N] as int64.

    If `rows` [N] is given, the set consists of these rows of `images`. Processes that use different
    images of one file thus share its memory mapping.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape [C, S, S] of each image."""
        return tuple(self.images.shape[1:])

    @property
    def pixels(self) -> int:
        """Number of values per image, C x S x S."""
        return math.prod(self.image_shape)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set with its images on `device`; on the CPU they stay memory-mapped."""
        if device.type == "cpu":
            return self
        return ImageSet(self._pixels(slice(None)).to(device), self.labels.to(device))

    def take(self, indices: Tensor) -> "ImageSet":
        """Return the images at `indices` as a set, in that order."""
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, labels=self.labels[indices], rows=rows)

    def sample(self, count: int, seed: int) -> "ImageSet":
        """Return a stratified random sample of `count` images; see `stratified_sample`."""
        return self.take(stratified_sample(self.labels, count, seed))

    def floats(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """Return images as float32 in [0, 1], in channels-last memory format."""
        return as_floats(self._pixels(indices))

    def _pixels(self, indices: Tensor | slice) -> Tensor:
        return self.images[indices if self.rows is None else self.rows[indices]]

    def batches(
        self, batch_size: int, order: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float images [B, C, S, S] in [0, 1] and labels [B], in the given order."""
        if order is None:
            order = torch.arange(len(self))
        order = order.to(self.images.device)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            yield self.floats(indices), self.labels[indices]


def as_floats(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1], in channels-last memory format."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def stratified_sample(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return the sorted indices of `count` images: one per class, the others in proportion.

    Returns one index per class if there are more than `count` classes, and all indices if there are
    fewer than `count` images. Hand-written because scikit-learn's `train_test_split` rejects
    classes with a single image and samples without a rest.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels.numpy()[shuffled], kind="stable")]
    _, firsts = np.unique(labels.numpy()[by_class], return_index=True)
    others = np.delete(by_class, firsts)
    drawn = min(max(count - len(firsts), 0), len(others))
    # evenly spaced over the images sorted by class, each class gets its share to within one image
    spaced = others[np.arange(drawn) * len(others) // max(drawn, 1)]
    return torch.from_numpy(np.sort(np.concatenate([by_class[firsts], spaced])))


class ImageArray(Protocol):
    """Images [N, C, S, S] as an array, or an object that returns parts of it as arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the array."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: slice) -> np.ndarray: ...


def write_split(folder: Path, images: ImageArray, labels: np.ndarray) -> None:
    """Write a split as `images.npy` and `labels.npy`; the uint8 images are read in blocks."""
    header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
    with atomic_path(folder / "images.npy") as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), IMAGES_PER_BLOCK):
            images[start : start + IMAGES_PER_BLOCK].tofile(file)
    with atomic_path(folder / "labels.npy") as temporary:
        np.save(temporary, labels)


def load_split(data_dir: Path, split: str) -> ImageSet:
    """Open a split that `fetch` wrote; its pixels are read when they are used.

    Raises EnvironmentProblem if the files are missing or damaged.
    """
    folder = data_dir / split
    try:
        # copy-on-write: torch requires writable memory, and the file must not change
        images = np.load(folder / "images.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy", mmap_mode="c")
    except (FileNotFoundError, EOFError, ValueError) as error:
        raise EnvironmentProblem(f"{folder}: {error}. Run `dvc repro fetch` first.") from None
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


def load_info(data_dir: Path) -> DatasetInfo:
    """Read the `dataset.json` that `fetch` wrote.

    Raises EnvironmentProblem if the file is missing or damaged.
    """
    source = data_dir / "dataset.json"
    try:
        return DatasetInfo(**read_json(source))
    except FileNotFoundError:
        raise EnvironmentProblem(f"{source} is missing. Run `dvc repro fetch` first.") from None
    except (ValueError, TypeError) as error:
        raise EnvironmentProblem(
            f"{source}: not a description of a dataset ({error}). Run `dvc repro fetch` again."
        ) from None


class ShuffledBatches:
    """Batches of an image set in random order, one pass per epoch.

    Iterating yields the batches of one epoch. An interrupted epoch can be saved with `state_dict`
    and continued in another process. Hand-written because the order of a `DataLoader` cannot be
    restored within an epoch.
    """

    def __init__(self, images: ImageSet, batch_size: int, random: torch.Generator) -> None:
        self._images = images
        self._batch_size = batch_size
        self._random = random
        self._start = random.get_state()
        self.step = 0
        """Number of batches yielded so far in this epoch."""

    @property
    def images(self) -> int:
        """Number of images per epoch."""
        return len(self._images)

    @property
    def steps(self) -> int:
        """Number of batches per epoch."""
        return -(-len(self._images) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the remaining float images [B, C, S, S] in [0, 1] and labels [B] of the epoch."""
        if self.step:
            # repeat the permutation of the interrupted epoch, then restore the generator
            state = self._random.get_state()
            self._random.set_state(self._start)
            order = torch.randperm(len(self._images), generator=self._random)
            self._random.set_state(state)
        else:
            self._start = self._random.get_state()
            order = torch.randperm(len(self._images), generator=self._random)
        for batch in self._images.batches(self._batch_size, order[self.step * self._batch_size :]):
            self.step += 1
            yield batch
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch, and the generator's state now and at its start."""
        return {"step": self.step, "start": self._start, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.step = state["step"]
        self._start = state["start"]
        self._random.set_state(state["random"])


@dataclass(frozen=True)
class RotatedImages(ImageSet):
    """Images rotated by as many quarter turns as their labels [N] say, when they are read.

    Predicting the rotation is a task that needs no labels and whose features describe the content
    of images (Gidaris et al. 2018).
    """

    @classmethod
    def of(cls, images: ImageSet) -> "RotatedImages":
        """Return every image in all four orientations, without a copy of its pixels."""
        rows = torch.arange(len(images)) if images.rows is None else images.rows
        turns = torch.arange(len(ROTATIONS))
        repeated = rows.repeat_interleave(len(turns))
        return cls(images.images, turns.repeat(len(images)), repeated)

    def _pixels(self, indices: Tensor | slice) -> Tensor:
        pixels = super()._pixels(indices)  # a copy, because `rows` selects them
        turns = self.labels[indices]
        for turn in range(1, len(ROTATIONS)):
            chosen = (turns == turn).to(pixels.device)
            pixels[chosen] = pixels[chosen].rot90(turn, (2, 3))
        return pixels
