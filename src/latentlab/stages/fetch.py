"""fetch: check the dataset named in `data`, split it and write it as arrays."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from latentlab.common.errors import DataError, ParamsError
from latentlab.common.progress import note, plural
from latentlab.data.duplicates import (
    DuplicateReport,
    equal_groups,
    report_duplicates,
    similar_groups,
)
from latentlab.data.image_set import DatasetInfo, as_floats, write_split
from latentlab.data.sources import RawDataset, read_dataset
from latentlab.data.splits import Split, split_rows, statistics
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.data_card import write_data_card
from latentlab.plots.images import plot_captioned, plot_grid, plot_rows
from latentlab.plots.labels import class_labels

SHOWN_PER_CLASS = 10
MAX_ROWS = 20
"""Classes that are shown with several images. Of more classes, one image of each is shown."""
MAX_SHOWN = 1000
COLUMNS = 20
SHOWN_UNLABELED = 50


def run(stage: StageContext) -> None:
    """Write the splits, `dataset.json`, `data_card.md` and a plot of every class."""
    settings = stage.params.data
    raw = read_dataset(
        settings.name,
        settings.image_size,
        settings.channels,
        stage.project.data,
        settings.fit,
        settings.options,
        settings.labels,
        settings.scale,
    )
    for text in raw.notes:
        note(text)
    _check_walks(stage, raw.classes)
    rows, duplicates = _split(stage, raw)
    splits = {name: Split(raw, members) for name, members in rows.items()}
    for name, split in splits.items():
        write_split(stage.output / name, split, split.labels)

    mean, std = statistics(splits["train"])
    payload = [raw.sha256, settings.tree()]
    info = DatasetInfo(
        name=settings.name,
        classes=list(raw.classes),
        image_shape=list(splits["train"].shape[1:]),
        sizes={name: len(split) for name, split in splits.items()},
        mean=mean,
        std=std,
        sha256=raw.sha256,
        digest=hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest(),
    )
    info.write(stage.output)

    picture = _plot_images(stage, info, splits["train"])
    card = stage.output / "data_card.md"
    labels = {name: split.labels for name, split in splits.items()}
    write_data_card(card, info, raw, labels, duplicates, f"plots/{picture}")
    stage.run.log_files(card)
    stage.name_run(f"{info.name} {settings.image_size}x{settings.image_size}")
    stage.run.log_params({"data": settings.tree()})
    stage.run.log_dataset(info)
    for name in info.sizes:
        stage.run.log_split(info, name)
    stage.write_metrics(
        {
            "classes": len(info.classes),
            "images": info.sizes,
            "train": {"pixel_mean": float(np.mean(mean)), "pixel_std": float(np.mean(std))},
        }
    )


def _split(stage: StageContext, raw: RawDataset) -> tuple[dict[str, np.ndarray], DuplicateReport]:
    """Return the rows of each split, and the duplicates.

    Near duplicates take too long to find in large published datasets, whose splits are kept anyway.
    """
    settings = stage.params.data
    images, labels = zip(*raw.splits.values(), strict=True)
    equal = equal_groups(images)
    groups = equal if raw.published else similar_groups(images, equal)
    try:
        rows = split_rows(
            raw,
            settings.validation_fraction,
            settings.test_fraction,
            settings.split_seed,
            None if raw.published else groups,
        )
    except DataError as error:
        raise DataError(f"{stage.project.data / settings.name}: {error}") from None
    found = report_duplicates(equal, groups, np.concatenate(labels), rows)
    if not raw.published and found.equal + found.similar:
        note(
            f"{stage.name}: {found.equal:,} images equal an earlier one, {found.similar:,} are "
            f"nearly equal; {found.left_out:,} were left out, the others are in the same split. "
            f"Duplicates with different labels: {plural(len(found.conflicts), 'group')}; "
            "data_card.md lists them"
        )
    return rows, found


def _plot_images(stage: StageContext, info: DatasetInfo, train: Split) -> str:
    """Draw training images, by class if there are classes; return the name of the file."""
    if info.labeled:
        _plot_classes(stage, info, train)
        return "classes.png"
    indices = np.unique(np.linspace(0, len(train) - 1, SHOWN_UNLABELED).astype(int))
    shown, title = as_floats(torch.from_numpy(train[indices])), f"{info.name}: training images"
    plot_grid(stage.plots / "images.png", shown, SHOWN_PER_CLASS, title)
    return "images.png"


def _plot_classes(stage: StageContext, info: DatasetInfo, train: Split) -> None:
    """Draw training images of each class."""
    target, title = stage.plots / "classes.png", f"{info.name}: training images of each class"
    names = class_labels(info.classes)
    if len(names) <= MAX_ROWS:
        rows = {}
        for index, name in enumerate(names):
            members = np.flatnonzero(train.labels == index)[:SHOWN_PER_CLASS]
            rows[name] = as_floats(torch.from_numpy(train[members]))
        plot_rows(target, rows, title)
        return
    shown, firsts = np.unique(train.labels, return_index=True)
    shown, firsts = shown[:MAX_SHOWN], firsts[:MAX_SHOWN]
    samples = as_floats(torch.from_numpy(train[firsts]))
    plot_captioned(target, samples, [names[index] for index in shown], COLUMNS, title)


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
