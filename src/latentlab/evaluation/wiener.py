"""The optimal linear filter, the line that a denoiser has to beat."""

import json
import math
from itertools import chain

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.restoration import spoilt_batches

MOST_PIXELS = 4096
"""Of an image that a filter is fitted to: it has a weight for each pair of them."""
PAIRS_PER_PIXEL = 10
"""A filter of fewer pairs of clean and spoilt images learns the noise of those it saw."""
MOST_PRODUCTS = 1e10
"""Pairs of pixels, times pairs of images, beyond which images are not spoilt again: seconds."""
RIDGE = 1e-5
"""Share of the mean variance of a pixel added to each: a corner that is always black has none."""


class LinearFilter:
    """The Wiener filter of an image as a whole: E[x] + Cov(x, y) Cov(y)^-1 (y - E[y]).

    No linear function of spoilt images y has a lower mean squared error to the clean ones x
    (Kay 1993, chapter 12).
    """

    def __init__(self, weights: Tensor, offset: Tensor) -> None:
        self._weights = weights
        self._offset = offset

    @classmethod
    def fit(cls, images: ImageSet, corruption: Corruption, seed: int) -> "LinearFilter":
        """Fit it to images, spoilt once; few images are spoilt several times, each time anew."""
        pixels = images.images[0].numel()
        wanted = min(PAIRS_PER_PIXEL * pixels, MOST_PRODUCTS / pixels**2)
        rounds = math.ceil(wanted / len(images))
        count = rounds * len(images)
        sums = torch.zeros(2, pixels, dtype=torch.float64)
        clean_spoilt = torch.zeros(pixels, pixels, dtype=torch.float64)
        spoilt_spoilt = torch.zeros(pixels, pixels, dtype=torch.float64)
        pairs = (spoilt_batches(images, corruption, seed + each) for each in range(rounds))
        for clean, spoilt in chain.from_iterable(pairs):
            # the rounding of float32 is as large as what blur leaves of some directions
            x, y = clean.flatten(1).double(), spoilt.flatten(1).double()
            sums += torch.stack([x.sum(0), y.sum(0)])
            clean_spoilt += x.T @ y
            spoilt_spoilt += y.T @ y
        mean_x, mean_y = sums / count
        covariance_xy = clean_spoilt / count - torch.outer(mean_x, mean_y)
        covariance_y = spoilt_spoilt / count - torch.outer(mean_y, mean_y)
        covariance_y.diagonal().add_(RIDGE * covariance_y.diagonal().mean())
        weights = torch.linalg.solve(covariance_y, covariance_xy.T)
        return cls(weights.float(), (mean_x - mean_y @ weights).float())

    def __call__(self, spoilt: Tensor) -> Tensor:
        """Restored images [N, C, S, S]."""
        return (spoilt.flatten(1) @ self._weights + self._offset).view(spoilt.shape)


class LinearFilters:
    """The filter of each corruption, fitted to the same images and once only."""

    def __init__(self, images: ImageSet, seed: int) -> None:
        self._images = images
        self._seed = seed
        self._fitted: dict[str, LinearFilter] = {}

    def of(self, corruption: Corruption) -> LinearFilter | None:
        """That of one corruption; None for images of more than 4,096 pixels."""
        if self._images.images[0].numel() > MOST_PIXELS:
            return None
        key = json.dumps(corruption.config)
        if key not in self._fitted:
            self._fitted[key] = LinearFilter.fit(self._images, corruption, self._seed)
        return self._fitted[key]
