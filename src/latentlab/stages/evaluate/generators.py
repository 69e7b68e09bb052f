"""How good generated images are, one measure for all that generate; a part of evaluate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.classification import as_key
from latentlab.evaluation.features import Features, features_of, features_of_set, in_parts
from latentlab.evaluation.generation import (
    class_shares,
    diversity,
    diversity_in_classes,
    entropy,
    frechet_distance,
    kernel_distance,
    neighbor_metrics,
)
from latentlab.evaluation.memorization import memorization_metrics, nearest_training_images
from latentlab.models.reference import ReferenceClassifier
from latentlab.pipeline.context import StageContext
from latentlab.plots.images import plot_rows

SHOWN = 12
ROWS = 2
CHECKED = 1000
"""Samples whose nearest training image is looked for, at most."""
FLOOR = "real"
CALLED = {"real": "real", "gan": "DCGAN", "vae": "VAE", "autoencoder_kde": "AE + KDE"}

Draw = Callable[[int, torch.Generator], Tensor]
"""So many images [N, C, S, S] in [0, 1], by a source of random numbers."""


@dataclass(frozen=True)
class Drawn:
    """Samples of one generator: all of them as features, and the first as images."""

    features: Features
    images: Tensor


def evaluate_generators(
    stage: StageContext,
    generators: dict[str, Draw],
    judge: ReferenceClassifier,
    seen: Features,
    info: DatasetInfo,
) -> dict[str, Any]:
    """The figures of every generator against the test split as `judge` has `seen` it; pictures.

    `real` is the floor: the validation split in the place of samples. Distances mean something next
    to it, and in the features of one judge.
    """
    train, validation, test = (stage.load_split(s) for s in ("train", "validation", "test"))
    samples = stage.params.evaluate.samples
    drawn = {
        name: _draw(draw, judge, samples, tuple(info.image_shape), stage.seed)
        for name, draw in generators.items()
    }
    drawn[FLOOR] = _draw_real(validation, judge, samples, stage.seed)
    unseen = test.sample(CHECKED, stage.seed).floats()
    of_real, _ = nearest_training_images(unseen, train)
    judged_in = {
        "reference_features": seen.values.shape[1],
        "reference_accuracy": float((seen.classes == test.labels.numpy()).mean()),
    }
    figures = {}
    for name, each in drawn.items():
        distances, twins = nearest_training_images(each.images, train)
        figures[name] = _figures(each.features, seen, info, stage.seed)
        figures[name] |= memorization_metrics(distances, of_real) | judged_in
        if name != FLOOR:
            _plot_nearest(stage, name, each.images, train.floats(twins[: ROWS * SHOWN]))
    _plot_samples(stage, drawn)
    return figures


def _draw(
    draw: Draw, judge: ReferenceClassifier, count: int, image_shape: tuple[int, ...], seed: int
) -> Drawn:
    random = torch.Generator().manual_seed(seed)
    kept: list[Tensor] = []

    def part(images: int) -> Tensor:
        drawn = draw(images, random)
        if sum(map(len, kept)) < CHECKED:
            kept.append(drawn)
        return drawn

    features = features_of(judge, in_parts(part, count, image_shape))
    return Drawn(features, torch.cat(kept)[:CHECKED])


def _draw_real(images: ImageSet, judge: ReferenceClassifier, count: int, seed: int) -> Drawn:
    """Images of all classes in the place of samples, in no order."""
    chosen = images.sample(count, seed)
    random = torch.Generator().manual_seed(seed)
    chosen = chosen.take(torch.randperm(len(chosen), generator=random))
    return Drawn(features_of_set(judge, chosen), chosen.floats(slice(CHECKED)))


def _figures(drawn: Features, real: Features, info: DatasetInfo, seed: int) -> dict[str, Any]:
    shares = class_shares(drawn.classes, len(info.classes))
    named = zip(map(as_key, info.classes), shares.tolist(), strict=True)
    return {
        "samples": len(drawn),
        "real_samples": len(real),
        "classifier_frechet_distance": frechet_distance(drawn.values, real.values),
        "classifier_kernel_distance": kernel_distance(drawn.values, real.values, seed),
        **neighbor_metrics(drawn.values, real.values),
        "diversity": diversity(drawn.values, real.values, seed),
        "diversity_in_classes": diversity_in_classes(drawn, real, seed),
        "class_entropy": entropy(shares),
        "class_shares": dict(named),
    }


def _plot_samples(stage: StageContext, drawn: dict[str, Drawn]) -> None:
    rows = {}
    for name in (FLOOR, *(name for name in drawn if name != FLOOR)):
        for number, images in enumerate(drawn[name].images[: ROWS * SHOWN].split(SHOWN), 1):
            rows[f"{CALLED[name]} {number}"] = images
    plot_rows(stage.plots / "samples.png", rows, "real images, and samples of every generator")


def _plot_nearest(stage: StageContext, name: str, images: Tensor, twins: Tensor) -> None:
    rows = {}
    for number, start in enumerate(range(0, ROWS * SHOWN, SHOWN), 1):
        rows[f"sample {number}"] = images[start : start + SHOWN]
        rows[f"nearest {number}"] = twins[start : start + SHOWN]
    title = f"{CALLED[name]}: samples above the training images nearest to them"
    plot_rows(stage.plots / f"{name}_nearest.png", rows, title)
