"""Baselines that a trained model should beat; none of them needs a training of its own.

They use torch alone and a sample of the training images, because importing scikit-learn takes
longer than computing them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.common.progress import short
from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import reconstruction_metrics, restoration_metrics
from latentlab.evaluation.wiener import LinearFilters
from latentlab.models.inference import batch_size

FITTED_IMAGES = 10_000
"""Training images that a baseline is fitted to, at most."""
FITTED_VALUES = 5e7
"""Pixel values of those images, at most (200 MB)."""
COMBINED_VALUES = 1e7
"""Pixel values of the images that are combined for each image of a Gaussian, at most."""
EXTRA_COMPONENTS = 10
"""Components that the randomized decomposition computes besides those that are needed."""
POWER_ITERATIONS = 4
"""Iterations of the randomized decomposition; its error is then below 0.1% (Halko et al. 2011)."""


@dataclass(frozen=True)
class Comparison:
    """A metric of a model next to that of its baseline; `name` is the path in `metrics.json`."""

    name: str
    value: float
    baseline: str
    baseline_value: float
    higher_is_better: bool = False

    @property
    def below(self) -> bool:
        """Whether the model is worse than the baseline."""
        if self.higher_is_better:
            return self.value < self.baseline_value
        return self.value > self.baseline_value

    @property
    def text(self) -> str:
        """Both values: `validation/mse 0.045 (pixel PCA 0.014)`."""
        return f"{self.name} {short(self.value)} ({self.baseline} {short(self.baseline_value)})"


def fitting_sample(train: ImageSet, seed: int, values: float = FITTED_VALUES) -> ImageSet:
    """Return the training images that a baseline is fitted to, with up to so many values."""
    count = int(min(FITTED_IMAGES, max(2, values // train.pixels)))
    return train if len(train) <= count else train.sample(count, seed)


def reconstruction_baselines(
    train: ImageSet, dimensions: int, images: ImageSet, seed: int
) -> dict[str, float]:
    """Return the MSE per pixel of pixel PCA with so many dimensions, and of the mean image."""
    return {
        "pixel_pca_mse": pixel_pca_mse(train, dimensions, images, seed),
        "mean_image_mse": mean_image_mse(train, images, seed),
    }


def restoration_baselines(
    train: ImageSet, corruption: Corruption, images: ImageSet, seed: int
) -> dict[str, float]:
    """Return the MSE per pixel of the Wiener filter, unless images are too large, and of the mean.

    The images are corrupted as by `restoration_metrics` with the same seed.
    """
    mse = {"mean_image_mse": mean_image_mse(train, images, seed)}
    # another seed than for the images, whose noise the filter must not know
    linear = LinearFilters(fitting_sample(train, seed), seed + 1).of(corruption)
    if linear is None:
        return mse
    return {"wiener_mse": restoration_metrics(linear, images, corruption, seed)["mse"]} | mse


def mean_image_mse(train: ImageSet, images: ImageSet, seed: int) -> float:
    """Return the MSE per pixel between images and the mean training image."""
    mean = fitting_sample(train, seed).floats().mean(0)
    return reconstruction_metrics(lambda batch: mean.expand_as(batch), images)["mse"]


def pixel_pca_mse(train: ImageSet, dimensions: int, images: ImageSet, seed: int) -> float:
    """Return the MSE per pixel of images restored from so many principal components.

    The components are those of the pixels of the training images. `evaluation.pixel_pca` has more
    metrics of the same baseline.
    """
    pixels = fitting_sample(train, seed).floats().flatten(1)
    mean = pixels.mean(0)
    pixels -= mean
    wanted = min(dimensions, *pixels.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        computed = min(wanted + EXTRA_COMPONENTS, *pixels.shape)
        _, _, components = torch.svd_lowrank(pixels, computed, POWER_ITERATIONS)
    components = components[:, :wanted]

    def restore(batch: Tensor) -> Tensor:
        restored: Tensor = (batch.flatten(1) - mean) @ components @ components.T + mean
        return restored.view(batch.shape)

    return reconstruction_metrics(restore, images)["mse"]


def gaussian_images(train: ImageSet, count: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of `count` images whose pixels are drawn from one Gaussian, clipped to [0, 1].

    It has the mean and the covariance of training images: each image is their mean plus a random
    combination of their deviations from it, which needs no decomposition.
    """
    pixels = fitting_sample(train, seed, COMBINED_VALUES).floats().flatten(1)
    mean = pixels.mean(0)
    pixels -= mean
    random = torch.Generator().manual_seed(seed)
    size = batch_size(train.image_shape)
    for start in range(0, count, size):
        weights = torch.randn(min(size, count - start), len(pixels), generator=random)
        drawn = mean + weights @ pixels / len(pixels) ** 0.5
        yield drawn.clamp(0, 1).view(-1, *train.image_shape)


def majority_accuracy(train: Tensor, labels: Tensor) -> float:
    """Return the accuracy of always predicting the most frequent class of the labels `train`."""
    return float((labels == train.bincount().argmax()).double().mean())
