"""Features and predicted classes of images, from the reference classifier."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlab.models.inference import batch_size
from latentlab.models.reference import ReferenceClassifier


@dataclass(frozen=True)
class Features:
    """Features [N, F] of N images from the feature layer, and their predicted classes [N]."""

    values: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@torch.inference_mode()
def extract_features(classifier: ReferenceClassifier, batches: Iterable[Tensor]) -> Features:
    """Return features and predicted classes of batches of images [B, C, S, S] in [0, 1]."""
    device = next(classifier.parameters()).device
    values, classes = [], []
    for batch in batches:
        features = classifier.embed(batch.to(device))
        values.append(features.float().cpu())
        classes.append(classifier.to_logits(features).argmax(1).cpu())
    return Features(torch.cat(values).double().numpy(), torch.cat(classes).numpy())


def sample_in_batches(
    sample: Callable[[int], Tensor], count: int, image_shape: tuple[int, ...]
) -> Iterator[Tensor]:
    """Yield `count` images from `sample` in batches that fit in memory."""
    size = batch_size(image_shape)
    for start in range(0, count, size):
        yield sample(min(size, count - start))
