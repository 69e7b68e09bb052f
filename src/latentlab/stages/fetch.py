"""fetch: check the dataset named in `data`, split it and write it as arrays."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from latentlab.common.errors import ParamsError
from latentlab.data.image_set import DatasetInfo, as_floats, write_split
from latentlab.data.sources import read_dataset
from latentlab.data.splits import make_splits, statistics
from latentlab.pipeline.context import StageContext
from latentlab.plots.images import plot_grid, plot_rows

SHOWN_PER_CLASS = 10
SHOWN_CLASSES = 20
SHOWN_UNLABELED = 50


def run(stage: StageContext) -> None:
    """Write `train/`, `validation/`, `test/`, `dataset.json` and a plot of every class."""
    settings = stage.params.data
    raw = read_dataset(
        settings.name,
        settings.image_size,
        settings.channels,
        stage.project.data,
        settings.fit,
        settings.options,
    )
    _check_walks(stage, raw.classes)
    splits = make_splits(raw, settings.validation_fraction, settings.test_fraction, stage.seed)
    for split, (images, labels) in splits.items():
        write_split(stage.output / split, images, labels)

    train_images, train_labels = splits["train"]
    mean, std = statistics(train_images)
    payload = [raw.sha256, settings.tree(), stage.seed]
    info = DatasetInfo(
        name=settings.name,
        classes=list(raw.classes),
        image_shape=list(train_images.shape[1:]),
        sizes={split: len(labels) for split, (_, labels) in splits.items()},
        mean=mean,
        std=std,
        sha256=raw.sha256,
        digest=hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest(),
    )
    info.write(stage.output)

    if info.labeled:
        rows = {
            name: as_floats(torch.from_numpy(train_images[train_labels == index][:SHOWN_PER_CLASS]))
            for index, name in enumerate(info.classes[:SHOWN_CLASSES])
        }
        plot_rows(stage.plots / "classes.png", rows, f"{info.name}: training images of each class")
    else:
        indices = np.unique(np.linspace(0, len(train_images) - 1, SHOWN_UNLABELED).astype(int))
        shown = as_floats(torch.from_numpy(train_images[indices]))
        title = f"{info.name}: training images"
        plot_grid(stage.plots / "images.png", shown, SHOWN_PER_CLASS, title)
    stage.name_run(f"{info.name} {settings.image_size}x{settings.image_size}")
    stage.run.log_params({"data": settings.tree()})
    stage.run.log_dataset(info)
    for split in info.sizes:
        stage.run.log_split(info, split)
    stage.write_metrics(
        {
            "classes": len(info.classes),
            "images": info.sizes,
            "train": {"pixel_mean": float(np.mean(mean)), "pixel_std": float(np.mean(std))},
        }
    )


def _check_walks(stage: StageContext, classes: Sequence[str]) -> None:
    """Raise ParamsError if `evaluate.walks` names unknown classes; `evaluate` would find out late.

    The classes are known only after the dataset has been read.
    """
    walks = stage.params.evaluate.walks
    if walks == "auto":
        return
    if not classes:
        raise ParamsError(
            f"{stage.project.params}: evaluate.walks names classes, but {stage.params.data.name} "
            "has no labels. Allowed: auto, which connects clusters of latent codes"
        )
    unknown = {name for pair in walks for name in pair} - set(classes)
    if unknown:
        raise ParamsError(
            f"{stage.project.params}: evaluate.walks names classes that {stage.params.data.name} "
            f"does not have: {', '.join(sorted(unknown))}. Allowed: auto, or pairs of "
            f"{', '.join(classes)}"
        )
