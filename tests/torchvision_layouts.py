"""Small random datasets in the files and folders that torchvision expects; no network.

Each function writes one layout below `root` and returns the images and labels of the splits, as
torchvision gives them, or nothing where the test needs only sizes.
"""

import bz2
import csv
import hashlib
import io
import json
import pickle
import struct
import tarfile
from dataclasses import replace

import numpy as np
import scipy.io
from PIL import Image

from crafting import write_pictures
from latentlab.data.torchvision_catalog import TORCHVISION

CHECKED_IN = ("cifar", "flowers102", "stl10", "svhn")
"""Modules of torchvision that compare the MD5 of official files with that of the files found."""


def accept_all_files(monkeypatch):
    """Let torchvision accept crafted files."""
    for module in CHECKED_IN:
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: True
        )


def random_colors(count, size, seed=0):
    """Return RGB uint8 images [count, size, size, 3]."""
    shape = (count, size, size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pin(monkeypatch, name, archive):
    """Pin the digest of a crafted archive of pickles instead of that of the official one."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(TORCHVISION, name, replace(TORCHVISION[name], pickled=digest))


def write_cifar10(root, per_batch=20):
    """CIFAR-10: an archive of pickle files. Return its path and the images of the first batch."""
    root.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {}
    for seed, name in enumerate(names):
        pixels = random_colors(per_batch, 32, seed).transpose(0, 3, 1, 2).reshape(per_batch, -1)
        files[name] = {"data": pixels, "labels": [index % 10 for index in range(per_batch)]}
    files["batches.meta"] = {"label_names": [f"class {letter}" for letter in "abcdefghij"]}
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            add_member(tar, f"cifar-10-batches-py/{name}", pickle.dumps(content))
    return archive, random_colors(per_batch, 32, 0)


def add_member(tar, name, content):
    """Add a file to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_svhn(root, count=60):
    """SVHN: a MATLAB file per split, in which the digit 0 has the label 10."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(("train", "test")):
        images = random_colors(count, 32, seed)
        labels = np.arange(count) % 10
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels, labels, 10)[:, None]}
        scipy.io.savemat(root / f"{split}_32x32.mat", content)
    return random_colors(count, 32, 0)


def _write_idx(path, array, kind=0x08):
    header = struct.pack(">HBB", 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def write_emnist_letters(root, count=52):
    """EMNIST: IDX files per option `split`; the labels of letters start at 1."""
    folder = root / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        prefix = folder / f"emnist-letters-{split}"
        _write_idx(prefix.with_name(f"{prefix.name}-images-idx3-ubyte"), _gray(count, 28, seed))
        labels = (np.arange(count) % 26 + 1).astype(np.uint8)
        _write_idx(prefix.with_name(f"{prefix.name}-labels-idx1-ubyte"), labels)
    return _gray(count, 28, 0)


def write_qmnist(root, count=20):
    """QMNIST: IDX files in which a label is a vector of 8 integers."""
    folder = root / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        labels = np.zeros((count, 8), ">i4")
        labels[:, 0] = np.arange(count) % 10
        _write_idx(folder / f"qmnist-{split}-images-idx3-ubyte", _gray(count, 28, seed))
        _write_idx(folder / f"qmnist-{split}-labels-idx2-int", labels, kind=0x0C)


def _gray(count, size, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def write_usps(root, count=20):
    """USPS: bzip2 text files, with labels from 1 and pixels in [-1, 1]."""
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for file in ("usps.bz2", "usps.t.bz2"):
        lines = []
        for index in range(count):
            pixels = random.uniform(-1, 1, 256)
            values = " ".join(f"{place}:{value:.4f}" for place, value in enumerate(pixels, 1))
            lines.append(f"{index % 10 + 1} {values}")
        (root / file).write_bytes(bz2.compress("\n".join(lines).encode()))


def write_stl10(root, count=20):
    """STL-10: raw bytes, columns first, with labels from 1."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        images = random_colors(count, 96, seed).transpose(0, 3, 2, 1)
        (folder / f"{split}_X.bin").write_bytes(np.ascontiguousarray(images).tobytes())
        (folder / f"{split}_y.bin").write_bytes((np.arange(count) % 10 + 1).astype(np.uint8))
    (folder / "class_names.txt").write_text("\n".join(f"thing {number}" for number in range(10)))
    return random_colors(count, 96, 0)


def write_gtsrb(root, per_class=3):
    """GTSRB: a folder per class for training; for the test one folder and a table."""
    folder = root / "gtsrb"
    for number in range(43):
        training = folder / "GTSRB" / "Training" / f"{number:05}"
        write_pictures(training, per_class, (20, 24), "RGB", ".ppm", seed=number)
    test = folder / "GTSRB" / "Final_Test" / "Images"
    write_pictures(test, 43, (20, 24), "RGB", ".ppm", seed=99)
    with (folder / "GT-final_test.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([("Filename", "ClassId"), *((f"{n}.ppm", n) for n in range(43))])


def write_eurosat(root, per_class=10):
    """EuroSAT: a folder per class, without official splits."""
    for seed, name in enumerate(("Forest", "River", "SeaLake")):
        write_pictures(root / "eurosat" / "2750" / name, per_class, (64, 64), "RGB", ".jpg", seed)


def write_oxford_pets(root, per_breed=6):
    """Oxford-IIIT Pet: images in one folder, and a list of breeds per split."""
    folder = root / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for split in ("trainval", "test"):
        lines = []
        for label, breed in enumerate(("Abyssinian", "american_bulldog"), 1):
            for number in range(per_breed):
                name = f"{breed}_{split}{number}"
                picture = Image.new("RGB", (50 + number, 40), (40 * label, 9, 9))
                picture.save(folder / "images" / f"{name}.jpg")
                lines.append(f"{name} {label} {label} {label}")
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines))


def write_flowers(root, per_split=6):
    """Oxford 102 Flowers: numbered images, and MATLAB files with labels and three splits."""
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    numbers = np.arange(1, 3 * per_split + 1)
    for number in numbers:
        color = (int(number) * 9, 200, 30)
        Image.new("RGB", (60, 40), color).save(folder / "jpg" / f"image_{number:05}.jpg")
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": numbers % 3 + 1})
    splits = dict(zip(("trnid", "valid", "tstid"), numbers.reshape(3, -1), strict=True))
    scipy.io.savemat(folder / "setid.mat", splits)


def write_food(root, per_class=6):
    """Food-101: a folder per class, and a list of files per split."""
    lists = {"train": {}, "test": {}}
    for seed, name in enumerate(("apple_pie", "waffles")):
        write_pictures(
            root / "food-101" / "images" / name, per_class, (30, 20), "RGB", ".jpg", seed
        )
        files = [f"{name}/{number}" for number in range(per_class)]
        lists["train"][name], lists["test"][name] = files[: per_class // 2], files[per_class // 2 :]
    (root / "food-101" / "meta").mkdir()
    for split, content in lists.items():
        (root / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(content))
