"""Fashion-MNIST in the format of each method, in a temporary folder."""

import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from latentlab.data.image_set import DatasetInfo, ImageSet, load_split, write_split
from latentlab.data.sources import locate, read_dataset
from latentlab.data.splits import statistics

if TYPE_CHECKING:
    from torchvision.datasets import FashionMNIST

DATASET = "fashion-mnist"
RAW = Path("data")


def prepare_data(folder: Path) -> None:
    """Write the images for all methods."""
    for split, (images, labels) in read_dataset(DATASET, 28, "auto", RAW).splits.items():
        write_split(folder / split, images, labels)
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in locate(DATASET, RAW).glob("*-ubyte.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def open_images(folder: Path, split: str = "train", count: int | None = None) -> ImageSet:
    """Open a split like the stages do: memory-mapped bytes."""
    images = load_split(folder, split)
    return ImageSet(images.images[:count], images.labels[:count])


def open_torchvision(folder: Path, train: bool = True, count: int | None = None) -> "FashionMNIST":
    """Open a split with torchvision."""
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import ToTensor

    dataset = FashionMNIST(folder, train=train, transform=ToTensor())
    dataset.data, dataset.targets = dataset.data[:count], dataset.targets[:count]
    return dataset


def write_repeated(folder: Path, count: int) -> None:
    """Write `count` training images, repeated as often as necessary, in the format of `fetch`."""
    images, labels = read_dataset(DATASET, 28, "auto", RAW).splits["train"]
    folder.mkdir(parents=True)
    target = np.lib.format.open_memmap(
        folder / "images.npy", "w+", images.dtype, (count, *images.shape[1:])
    )
    for start in range(0, count, len(images)):
        target[start : start + len(images)] = images[: count - start]
    target.flush()
    np.save(folder / "labels.npy", np.resize(labels, count))


def describe_data(folder: Path) -> DatasetInfo:
    """Write `dataset.json` like `fetch` does."""
    train = load_split(folder, "train")
    mean, std = statistics(train.images.numpy())
    info = DatasetInfo(
        name=DATASET,
        classes=[str(label) for label in torch.unique(train.labels).tolist()],
        image_shape=list(train.images.shape[1:]),
        sizes={"train": len(train)},
        mean=mean,
        std=std,
        sha256={},
        digest="0" * 64,
    )
    info.write(folder)
    return info
