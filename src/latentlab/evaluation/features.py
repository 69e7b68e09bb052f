"""Samples as a classifier sees them: features to measure distances in, and classes to count."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.inference import batch_size, in_batches
from latentlab.models.reference import ReferenceClassifier


@dataclass(frozen=True)
class Features:
    """Of N images: features [N, F] of the last layer but one, and the classes [N] they are like."""

    values: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@torch.inference_mode()
def features_of(classifier: ReferenceClassifier, batches: Iterable[Tensor]) -> Features:
    """What a classifier sees in batches of images [B, C, S, S] in [0, 1]."""
    device = next(classifier.parameters()).device
    values, classes = [], []
    for batch in batches:
        seen = classifier.features(batch.to(device))
        values.append(seen.float().cpu())
        classes.append(classifier.to_logits(seen).argmax(1).cpu())
    return Features(torch.cat(values).double().numpy(), torch.cat(classes).numpy())


def features_of_set(classifier: ReferenceClassifier, images: ImageSet) -> Features:
    """The same of a split."""
    return features_of(classifier, in_batches(images))


def in_parts(draw: Callable[[int], Tensor], count: int, image_shape: tuple[int, ...]) -> Iterable:
    """`count` images from `draw`, never more at a time than memory holds."""
    at_once = batch_size(image_shape)
    for start in range(0, count, at_once):
        yield draw(min(at_once, count - start))
