"""evaluate: the quality of generated images, with the same metrics for all generators."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.baselines import gaussian_images
from latentlab.evaluation.class_keys import class_keys
from latentlab.evaluation.features import Features, extract_features, sample_in_batches
from latentlab.evaluation.generation import (
    FRECHET_DISTANCE,
    RELATIVE_FRECHET_DISTANCE,
    class_shares,
    diversity,
    diversity_in_classes,
    entropy,
    frechet_distance,
    kernel_distance,
    neighbor_metrics,
    total_variance,
)
from latentlab.evaluation.memorization import memorization_metrics, nearest_training_images
from latentlab.models.inference import in_batches
from latentlab.models.reference import ReferenceClassifier
from latentlab.pipeline.context import StageContext
from latentlab.plots.images import plot_rows

SHOWN_PER_ROW = 12
SHOWN_ROWS = 2
CHECKED_SAMPLES = 1000
"""Samples that are compared with the training images, at most."""
REAL, GAUSSIAN = "real", "pixel_gaussian"
TITLES = {REAL: "real", "gan": "DCGAN", "vae": "VAE", "autoencoder_kde": "AE + KDE"}

Sampler = Callable[[int, torch.Generator], Tensor]
"""A function of a count and a random generator that returns images [N, C, S, S] in [0, 1]."""


@dataclass(frozen=True)
class GeneratedSamples:
    """Samples of one generator: the features of all of them, and the first as images."""

    features: Features
    images: Tensor


def evaluate_generators(
    stage: StageContext,
    samplers: dict[str, Sampler],
    classifier: ReferenceClassifier,
    test_features: Features,
    reference_accuracy: float,
    info: DatasetInfo,
) -> dict[str, Any]:
    """Compare the samples of every generator with the test split; draw samples of each.

    The entry `real` of the result is the best possible: validation images in the place of samples.
    The entry `pixel_gaussian` is the baseline: a Gaussian fitted to the training images.
    Distances are comparable only within the features of one reference classifier, of which
    `reference_accuracy` is the accuracy on the test split.
    """
    train, validation, test = (stage.load_split(s) for s in ("train", "validation", "test"))
    count = stage.params.evaluate.samples
    generators = {
        name: _generate(sampler, classifier, count, tuple(info.image_shape), stage.seed)
        for name, sampler in samplers.items()
    }
    generators[REAL] = _real_samples(validation, classifier, count, stage.seed)
    unseen = test.sample(CHECKED_SAMPLES, stage.seed).floats()
    real_distances, _ = nearest_training_images(unseen, train)
    reference = {
        "reference_features": test_features.values.shape[1],
        "reference_accuracy": reference_accuracy,
    }
    metrics: dict[str, Any] = {}
    for name, samples in generators.items():
        distances, nearest = nearest_training_images(samples.images, train)
        metrics[name] = _sample_metrics(samples.features, test_features, info, stage.seed)
        metrics[name] |= memorization_metrics(distances, real_distances) | reference
        if name != REAL:
            shown = nearest[: SHOWN_ROWS * SHOWN_PER_ROW]
            _plot_nearest(stage, name, samples.images, train.floats(shown))
    _plot_samples(stage, generators)
    gaussian = extract_features(classifier, gaussian_images(train, count, stage.seed))
    distance = frechet_distance(gaussian.values, test_features.values)
    return metrics | {GAUSSIAN: {FRECHET_DISTANCE: distance}}


def _generate(
    sampler: Sampler,
    classifier: ReferenceClassifier,
    count: int,
    image_shape: tuple[int, ...],
    seed: int,
) -> GeneratedSamples:
    random = torch.Generator().manual_seed(seed)
    first: list[Tensor] = []

    def sample(size: int) -> Tensor:
        images = sampler(size, random)
        if sum(map(len, first)) < CHECKED_SAMPLES:
            first.append(images)
        return images

    features = extract_features(classifier, sample_in_batches(sample, count, image_shape))
    return GeneratedSamples(features, torch.cat(first)[:CHECKED_SAMPLES])


def _real_samples(
    images: ImageSet, classifier: ReferenceClassifier, count: int, seed: int
) -> GeneratedSamples:
    """Return real images of all classes, in random order, in the form of generated samples."""
    chosen = images.sample(count, seed)
    random = torch.Generator().manual_seed(seed)
    chosen = chosen.take(torch.randperm(len(chosen), generator=random))
    features = extract_features(classifier, in_batches(chosen))
    return GeneratedSamples(features, chosen.floats(slice(CHECKED_SAMPLES)))


def _sample_metrics(
    samples: Features, real: Features, info: DatasetInfo, seed: int
) -> dict[str, Any]:
    distance = frechet_distance(samples.values, real.values)
    metrics = {
        "samples": len(samples),
        "real_samples": len(real),
        FRECHET_DISTANCE: distance,
        RELATIVE_FRECHET_DISTANCE: distance / total_variance(real.values),
        "classifier_kernel_distance": kernel_distance(samples.values, real.values, seed),
        **neighbor_metrics(samples.values, real.values),
        "diversity": diversity(samples.values, real.values, seed),
    }
    if not info.labeled:  # the reference classifier predicts angles
        return metrics
    shares = class_shares(samples.classes, len(info.classes))
    keys = class_keys(info.classes)
    return metrics | {
        "diversity_in_classes": diversity_in_classes(samples, real, seed),
        "class_entropy": entropy(shares),
        "class_shares": dict(zip(keys, shares.tolist(), strict=True)),
    }


def _rows_of(images: Tensor) -> list[tuple[int, Tensor]]:
    """Return the first images in numbered rows, as many as a plot shows."""
    shown = images[: SHOWN_ROWS * SHOWN_PER_ROW]
    starts = range(0, len(shown), SHOWN_PER_ROW)
    return [(n, shown[start : start + SHOWN_PER_ROW]) for n, start in enumerate(starts, 1)]


def _plot_samples(stage: StageContext, generators: dict[str, GeneratedSamples]) -> None:
    names = [REAL, *(name for name in generators if name != REAL)]
    rows = {
        f"{TITLES[name]} {number}": images
        for name in names
        for number, images in _rows_of(generators[name].images)
    }
    plot_rows(stage.plots / "samples.png", rows, "Real images and samples from each generator")


def _plot_nearest(stage: StageContext, name: str, images: Tensor, nearest: Tensor) -> None:
    rows = {}
    for (number, samples), (_, neighbors) in zip(_rows_of(images), _rows_of(nearest), strict=True):
        rows[f"sample {number}"] = samples
        rows[f"nearest {number}"] = neighbors
    title = f"{TITLES[name]}: samples and their nearest training images"
    plot_rows(stage.plots / f"{name}_nearest.png", rows, title)
