"""The optimal linear filter, the line that a denoiser has to beat."""

import json
import math
from collections.abc import Iterator
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import corrupted_batches
from latentlab.models.inference import in_batches

MOST_PIXELS = 4096
"""Of an image that a filter is fitted to: it has a weight for each pair of them."""
PAIRS_PER_PIXEL = 10
"""A filter of fewer pairs of clean and corrupted images learns the noise of those it saw."""
MOST_PRODUCTS = 1e10
"""Pairs of pixels, times pairs of images, beyond which images are not corrupted again: seconds."""
RIDGE = 1e-5
"""Share of the mean variance of a pixel added to each: a corner that is always black has none."""


class LinearFilter:
    """The Wiener filter of an image as a whole: E[x] + Cov(x, y) Cov(y)^-1 (y - E[y]).

    No linear function of corrupted images y has a lower mean squared error to the clean ones x
    (Kay 1993, chapter 12).
    """

    def __init__(self, mean_x: Tensor, mean_y: Tensor, cov_xy: Tensor, cov_y: Tensor) -> None:
        cov_y = cov_y.clone()
        cov_y.diagonal().add_(RIDGE * cov_y.diagonal().mean())
        weights = torch.linalg.solve(cov_y, cov_xy.T)
        self._weights = weights.float()
        self._offset = (mean_x - mean_y @ weights).float()

    def __call__(self, corrupted: Tensor) -> Tensor:
        """Restored images [N, C, S, S]."""
        return (corrupted.flatten(1) @ self._weights + self._offset).view(corrupted.shape)


class LinearFilters:
    """The filter of each corruption, fitted to the same images and once only."""

    def __init__(self, images: ImageSet, seed: int) -> None:
        self._images = images
        self._pixels = images.pixels
        self._seed = seed
        self._fitted: dict[str, LinearFilter] = {}

    def of(self, corruption: Corruption) -> LinearFilter | None:
        """That of one corruption; None for images of more than 4,096 pixels."""
        if self._pixels > MOST_PIXELS:
            return None
        key = json.dumps(corruption.config)
        if key not in self._fitted:
            self._fitted[key] = self._fit(corruption)
        return self._fitted[key]

    def _fit(self, corruption: Corruption) -> LinearFilter:
        """From the moments of noise where they are known, else from images corrupted here."""
        variance = corruption.noise_variance
        if variance is None:
            return LinearFilter(*_moments(self._pairs(corruption), self._pixels))
        mean, covariance = self._clean
        return LinearFilter(mean, mean, covariance, covariance + variance * torch.eye(self._pixels))

    @cached_property
    def _clean(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the clean images."""
        mean, _, _, covariance = _moments(
            ((clean, clean) for clean in in_batches(self._images)), self._pixels
        )
        return mean, covariance

    def _pairs(self, corruption: Corruption) -> Iterator[tuple[Tensor, Tensor]]:
        """Clean and corrupted images; few of them several times, each time corrupted anew."""
        wanted = min(PAIRS_PER_PIXEL * self._pixels, MOST_PRODUCTS / self._pixels**2)
        rounds = 1 if corruption.repeats_itself else math.ceil(wanted / len(self._images))
        return chain.from_iterable(
            corrupted_batches(self._images, corruption, self._seed + each) for each in range(rounds)
        )


def _moments(
    pairs: Iterator[tuple[Tensor, Tensor]], pixels: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """E[x], E[y], Cov(x, y) and Cov(y) of batches of images x and y."""
    sums = torch.zeros(2, pixels, dtype=torch.float64)
    xy = torch.zeros(pixels, pixels, dtype=torch.float64)
    yy = torch.zeros(pixels, pixels, dtype=torch.float64)
    count = 0
    for clean, corrupted in pairs:
        # the rounding of float32 is as large as what blur leaves of some directions
        x, y = clean.flatten(1).double(), corrupted.flatten(1).double()
        sums += torch.stack([x.sum(0), y.sum(0)])
        xy += x.T @ y
        yy += y.T @ y
        count += len(x)
    mean_x, mean_y = sums / count
    return (
        mean_x,
        mean_y,
        xy / count - torch.outer(mean_x, mean_y),
        yy / count - torch.outer(mean_y, mean_y),
    )
