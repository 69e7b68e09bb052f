"""A look at a generator while it trains: how close to real images it is, and if it collapsed."""

import torch

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.features import features_of, features_of_set, in_parts
from latentlab.evaluation.generation import (
    class_shares,
    diversity,
    diversity_in_classes,
    entropy,
    frechet_distance,
)
from latentlab.models.gan import Generator
from latentlab.models.reference import ReferenceClassifier

FRECHET = "validation/classifier_frechet_distance"
COLLAPSED = 0.5
"""Share of the diversity of real images, of all or of those of one class, or of the entropy of
their classes, below which samples are called collapsed."""


class GeneratorMonitor:
    """Judges a generator by samples of the same noise, in the features of a classifier."""

    metric = FRECHET

    def __init__(
        self,
        classifier: ReferenceClassifier,
        validation: ImageSet,
        samples: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._classifier = classifier.to(device).eval()
        self._real = features_of_set(self._classifier, validation)
        self._samples = samples
        self._seed = seed
        self._image_shape = validation.image_shape

    def real_baseline(self, real: ImageSet) -> dict[str, float]:
        """Fréchet distance of as many other real images, and how many stand on each side."""
        seen = features_of_set(self._classifier, real.sample(self._samples, self._seed))
        return {
            "classifier_frechet_distance": frechet_distance(seen.values, self._real.values),
            "samples": len(seen),
            "real_samples": len(self._real),
        }

    def evaluate(self, generator: Generator) -> dict[str, float]:
        """Fréchet distance, diversities and class entropy of samples; `collapsed` is 0 or 1."""
        random = torch.Generator().manual_seed(self._seed)
        drawn = in_parts(
            lambda count: generator.sample(count, random), self._samples, self._image_shape
        )
        seen = features_of(self._classifier, drawn)
        classes = self._classifier.classes
        spread = diversity(seen.values, self._real.values, self._seed)
        within = diversity_in_classes(seen, self._real, self._seed)
        even = entropy(class_shares(seen.classes, classes))
        usual = entropy(class_shares(self._real.classes, classes))
        collapsed = min(spread, within) < COLLAPSED or even < COLLAPSED * usual
        return {
            FRECHET: frechet_distance(seen.values, self._real.values),
            "validation/diversity": spread,
            "validation/diversity_in_classes": within,
            "validation/class_entropy": even,
            "validation/collapsed": float(collapsed),
        }
