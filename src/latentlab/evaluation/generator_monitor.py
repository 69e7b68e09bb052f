"""Evaluation of a generator during training: its distance to real images, and mode collapse."""

import torch

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.baselines import gaussian_images
from latentlab.evaluation.features import extract_features, sample_in_batches
from latentlab.evaluation.generation import (
    FRECHET_DISTANCE,
    class_shares,
    diversity,
    diversity_in_classes,
    entropy,
    frechet_distance,
)
from latentlab.models.gan import Generator
from latentlab.models.inference import in_batches
from latentlab.models.reference import ReferenceClassifier

VALIDATION_DISTANCE = f"validation/{FRECHET_DISTANCE}"
COLLAPSE_THRESHOLD = 0.5
"""A generator counts as collapsed if the diversity of its samples, their diversity within classes
or the entropy of their classes is below this share of the value of real images."""


class GeneratorMonitor:
    """Computes metrics of a generator from samples of fixed noise, relative to validation images.

    `metric` is the metric that decides which epoch is the best; lower is better. Metrics of the
    predicted classes are left out unless the images are `labeled`: then the classes are angles.
    """

    metric = VALIDATION_DISTANCE

    def __init__(
        self,
        classifier: ReferenceClassifier,
        validation: ImageSet,
        samples: int,
        seed: int,
        device: torch.device,
        labeled: bool = True,
    ) -> None:
        self._classifier = classifier.to(device).eval()
        self._real = extract_features(self._classifier, in_batches(validation))
        self._samples = samples
        self._seed = seed
        self._image_shape = validation.image_shape
        self._labeled = labeled

    def real_baseline(self, real: ImageSet) -> dict[str, float]:
        """Return the Fréchet distance of other real images, and the number of images compared.

        `real` is sampled to the number of images that a generator is evaluated with.
        """
        sample = real.sample(self._samples, self._seed)
        features = extract_features(self._classifier, in_batches(sample))
        return {
            FRECHET_DISTANCE: frechet_distance(features.values, self._real.values),
            "samples": len(features),
            "real_samples": len(self._real),
        }

    def gaussian_baseline(self, train: ImageSet) -> dict[str, float]:
        """Return the Fréchet distance of images from a Gaussian fitted to the training images."""
        images = gaussian_images(train, self._samples, self._seed)
        features = extract_features(self._classifier, images)
        distance = frechet_distance(features.values, self._real.values)
        return {FRECHET_DISTANCE: distance}

    def evaluate(self, generator: Generator) -> dict[str, float]:
        """Return Fréchet distance, diversities and class entropy; `collapsed` is 0 or 1.

        Without labels, collapse is recognized by the diversity of all samples.
        """
        random = torch.Generator().manual_seed(self._seed)
        batches = sample_in_batches(
            lambda count: generator.sample(count, random), self._samples, self._image_shape
        )
        features = extract_features(self._classifier, batches)
        overall = diversity(features.values, self._real.values, self._seed)
        metrics = {
            VALIDATION_DISTANCE: frechet_distance(features.values, self._real.values),
            "validation/diversity": overall,
        }
        if not self._labeled:
            return metrics | {"validation/collapsed": float(overall < COLLAPSE_THRESHOLD)}
        classes = self._classifier.classes
        within_classes = diversity_in_classes(features, self._real, self._seed)
        class_entropy = entropy(class_shares(features.classes, classes))
        real_entropy = entropy(class_shares(self._real.classes, classes))
        collapsed = (
            min(overall, within_classes) < COLLAPSE_THRESHOLD
            or class_entropy < COLLAPSE_THRESHOLD * real_entropy
        )
        return metrics | {
            "validation/diversity_in_classes": within_classes,
            "validation/class_entropy": class_entropy,
            "validation/collapsed": float(collapsed),
        }
