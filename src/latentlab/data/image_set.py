"""The images of one split as the stages read them: memory-mapped uint8, float only in batches."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path, read_json, write_json


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset beside its pixels; `dataset.json` of `fetch`.

    `mean` and `std` are per channel over the training split, in [0, 1]; `sha256` is of the raw
    files, `digest` of all of them and the settings of `data`.
    """

    name: str
    classes: list[str]
    image_shape: list[int]
    sizes: dict[str, int]
    mean: list[float]
    std: list[float]
    sha256: dict[str, str]
    digest: str

    def write(self, folder: Path) -> None:
        """Write `dataset.json`."""
        write_json(folder / "dataset.json", asdict(self))


@dataclass(frozen=True)
class ImageSet:
    """Images [N, C, S, S] as uint8 and labels [N] as int64.

    They are the `rows` [N] of `images`, or all of them: processes that take different images of one
    file share what is mapped of it.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """[C, S, S] of each image."""
        return tuple(self.images.shape[1:])

    @property
    def pixels(self) -> int:
        """Values of each image, C x S x S."""
        return math.prod(self.image_shape)

    def to(self, device: torch.device) -> "ImageSet":
        """Hold the images on `device`; on the CPU they stay memory-mapped."""
        if device.type == "cpu":
            return self
        return ImageSet(self._pixels(slice(None)).to(device), self.labels.to(device))

    def take(self, indices: Tensor) -> "ImageSet":
        """The images at `indices`, in that order."""
        rows = indices if self.rows is None else self.rows[indices]
        return ImageSet(self.images, self.labels[indices], rows)

    def sample(self, count: int, seed: int) -> "ImageSet":
        """Some of the images, as `stratified_sample` draws them."""
        return self.take(stratified_sample(self.labels, count, seed))

    def floats(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """Images as float32 in [0, 1], channels last in memory."""
        return as_floats(self._pixels(indices))

    def _pixels(self, indices: Tensor | slice) -> Tensor:
        return self.images[indices if self.rows is None else self.rows[indices]]

    def batches(
        self, batch_size: int, order: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Float images [B, C, S, S] in [0, 1] with labels [B]: those at `order`, else all."""
        if order is None:
            order = torch.arange(len(self))
        order = order.to(self.images.device)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            yield self.floats(indices), self.labels[indices]


def as_floats(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def stratified_sample(labels: Tensor, count: int, seed: int) -> Tensor:
    """Sorted indices of `count` images: one of each class, the others by the shares of classes.

    More than `count` where there are more classes, all where there are fewer images.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels.numpy()[shuffled], kind="stable")]
    _, firsts = np.unique(labels.numpy()[by_class], return_index=True)
    others = np.delete(by_class, firsts)
    drawn = min(max(count - len(firsts), 0), len(others))
    # evenly spaced over the classes in a row: each gets its share, to within one image
    spaced = others[np.arange(drawn) * len(others) // max(drawn, 1)]
    return torch.from_numpy(np.sort(np.concatenate([by_class[firsts], spaced])))


def write_split(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a split as `images.npy` and `labels.npy`."""
    for name, array in (("images", images), ("labels", labels)):
        with atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, array)


def load_split(data_dir: Path, split: str) -> ImageSet:
    """Open a split that `fetch` wrote, without reading its pixels yet."""
    folder = data_dir / split
    try:
        # copy-on-write: torch wants writable memory, the file stays as it is
        images = np.load(folder / "images.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy", mmap_mode="c")
    except (FileNotFoundError, EOFError, ValueError) as fault:
        raise EnvironmentProblem(f"{folder}: {fault}; run `dvc repro fetch` first") from None
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


def load_info(data_dir: Path) -> DatasetInfo:
    """Read the `dataset.json` that `fetch` wrote."""
    source = data_dir / "dataset.json"
    try:
        return DatasetInfo(**read_json(source))
    except FileNotFoundError:
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro fetch` first") from None
    except (ValueError, TypeError) as fault:
        raise EnvironmentProblem(f"{source}: {fault}; run `dvc repro fetch` again") from None


class ShuffledBatches:
    """Batches of an image set in random order, one pass per epoch.

    Iterating makes one pass; a pass can be saved with `state_dict` and continued in its middle.
    Hand-written because the order of a `DataLoader` cannot be restored within an epoch.
    """

    def __init__(self, images: ImageSet, batch_size: int, random: torch.Generator) -> None:
        self._images = images
        self._batch_size = batch_size
        self._random = random
        self._start = random.get_state()
        self.step = 0
        """Batches returned so far in this pass."""

    @property
    def images(self) -> int:
        """Number of images in a pass."""
        return len(self._images)

    @property
    def steps(self) -> int:
        """Number of batches in a pass."""
        return -(-len(self._images) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float images [B, C, S, S] in [0, 1] with labels [B], starting where it stopped."""
        if self.step:
            now = self._random.get_state()
            self._random.set_state(self._start)
            order = torch.randperm(len(self._images), generator=self._random)
            self._random.set_state(now)
        else:
            self._start = self._random.get_state()
            order = torch.randperm(len(self._images), generator=self._random)
        for batch in self._images.batches(self._batch_size, order[self.step * self._batch_size :]):
            self.step += 1
            yield batch
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the pass and the state of the generator."""
        return {"step": self.step, "start": self._start, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.step = state["step"]
        self._start = state["start"]
        self._random.set_state(state["random"])
