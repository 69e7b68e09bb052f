"""Helpers that create datasets, image folders, checkouts and study drivers for tests."""

import gzip
import hashlib
import os
import socket
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.data.catalog import KnownDataset
from latentlab.data.image_set import write_split
from latentlab.models.device import supports_bfloat16
from latentlab.params.networks import OptimizationParams

needs_bfloat16 = pytest.mark.skipif(
    not supports_bfloat16(torch.device("cpu")), reason="this CPU has no bfloat16 instructions"
)

IMAGES = "train-images.gz"
LABELS = "train-labels.gz"

FOUND = """\
train.model.channels: [4]
train.model.hidden: 8
train.model.latent_dim: 2
train.learning_rate: 0.001
train.weight_decay: 0.0
train.optimizer: adamw
"""
"""Content of a `best_params.yaml` that describes a small network."""


def random_images(count, size=6, seed=0):
    """Return gray uint8 images [count, size, size]."""
    shape = (count, size, size)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_gzip(path, content):
    path.write_bytes(gzip.compress(content, mtime=0))


def idx_header(*shape, zeros=0, kind=0x08, axes=None):
    """Return the header of an IDX file, which the arguments can make invalid."""
    header = struct.pack(">HBB", zeros, kind, len(shape) if axes is None else axes)
    return header + struct.pack(f">{len(shape)}I", *shape)


def write_idx(path, array):
    """Write unsigned bytes as a gzipped IDX file."""
    write_gzip(path, idx_header(*array.shape) + array.astype(np.uint8).tobytes())


def known_dataset(folder, images=None, labels=None, classes=("cat", "dog"), mirrors=()):
    """Write the files of a dataset and return its entry for the catalog."""
    folder.mkdir(parents=True, exist_ok=True)
    write_idx(folder / IMAGES, random_images(20) if images is None else images)
    write_idx(folder / LABELS, np.arange(20) % 2 if labels is None else np.asarray(labels))
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (IMAGES, LABELS)
    }
    return KnownDataset(tuple(classes), {"train": (IMAGES, LABELS)}, digests, tuple(mirrors))


def write_random_splits(folder, **counts):
    """Write splits of random gray 8x8 images in two classes, `count` images per split."""
    for seed, (split, count) in enumerate(counts.items()):
        write_split(folder / split, random_images(count, 8, seed)[:, None], np.arange(count) % 2)


def copy_checkout(repository, root, leave_out=()):
    """Copy the working tree, including uncommitted files, without outputs and `leave_out`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        wanted = name and not name.startswith("outputs/") and name not in leave_out
        if wanted and (repository / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((repository / name).read_bytes())


def optimization_settings(**changes):
    """Return the settings of a short training with some `changes`."""
    base = {
        "epochs": 3,
        "patience": None,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "schedule": "one_cycle",
    }
    return OptimizationParams(**base | changes)


def write_pictures(folder, count, size=(12, 12), mode="L", suffix=".png", seed=0):
    """Write `count` random images 0.png, 1.png ... of `size` (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    for number in range(count):
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")


def png_with_size(width, height, bits=1, color=0):
    """Return a black PNG file of 1000 bytes of pixels whose header claims this size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def run_dask(arguments, environment, log):
    """Run the command `dask` in this process; with changes of `environment`, in a new interpreter.

    A fork of a process that has imported torch starts seconds earlier, but ignores such changes.
    """
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if environment:
        command = [sys.executable, "-m", "dask", *arguments]
        os.execve(sys.executable, command, os.environ | environment)
    sys.argv = ["dask", *arguments]
    import_module("dask.__main__").main()


@contextmanager
def opened_by_optuna(path):
    """Open the study of a record with Optuna alone, and close its storage at the end."""
    import optuna  # not every test that uses this module needs it

    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        yield optuna.load_study(study_name="search", storage=storage)
    finally:
        storage.engine.dispose()


def drive(folder, pid, host=None, started=None):
    """Register a process as the driver of the study in a folder."""
    driver = {"host": host or socket.gethostname(), "pid": pid, "started": started}
    with opened_by_optuna(folder / "study.db") as study:
        study.set_user_attr("driver", driver)


def ended_process():
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(run):
    """Return the stage of a stage's run, and the name of a nested run."""
    return run.data.tags["stage"] if run.data.tags["kind"] == "stage" else run.info.run_name
