"""The Wiener filter: the optimal linear denoiser, the baseline of the denoising networks."""

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

MAX_PIXELS = 4096
"""Values per image up to which a filter is fitted; it has one weight for each pair of values."""
PAIRS_PER_PIXEL = 10
"""Pairs of clean and corrupted images per value of an image; a filter of fewer pairs overfits."""
MAX_PRODUCTS = 1e10
"""Pairs of values times pairs of images above which no more images are corrupted (seconds)."""
RIDGE = 1e-5
"""Share of the mean variance of a pixel that is added to the variance of each pixel.

A pixel that is always black has no variance, which would make the covariance singular.
"""


class LinearFilter:
    """The Wiener filter of whole images: E[x] + Cov(x, y) Cov(y)^-1 (y - E[y]).

    It has the lowest mean squared error to clean images x of all linear functions of corrupted
    images y (Kay 1993, chapter 12).
    """

    def __init__(self, weights: Tensor, mean_x: Tensor, mean_y: Tensor) -> None:
        self._weights = weights.float()
        self._offset = (mean_x - mean_y @ weights).float()

    @classmethod
    def of_moments(
        cls, mean_x: Tensor, mean_y: Tensor, cov_xy: Tensor, cov_y: Tensor
    ) -> "LinearFilter":
        """Compute the filter from means [D] and covariances [D, D]."""
        cov_y = cov_y.clone()
        cov_y.diagonal().add_(RIDGE * cov_y.diagonal().mean())
        return cls(torch.linalg.solve(cov_y, cov_xy.T), mean_x, mean_y)

    @classmethod
    def of_pairs(cls, x: Tensor, y: Tensor, noise_variance: float) -> "LinearFilter":
        """Compute the same filter from N images [N, D]; faster than from moments if N < D.

        With centered X and Y and a sum v of the ridge and the variance of noise that is added to y:
        (Y'Y / N + v I)^-1 Y'X / N = Y' (YY' / N + v I)^-1 X / N.
        """
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        products = y @ y.T / len(y)
        variance = noise_variance + RIDGE * (y.square().mean() + noise_variance)
        products.diagonal().add_(variance)
        return cls(y.T @ torch.linalg.solve(products, x) / len(y), mean_x, mean_y)

    def __call__(self, corrupted: Tensor) -> Tensor:
        """Restore corrupted images [N, C, S, S]."""
        restored: Tensor = corrupted.flatten(1) @ self._weights + self._offset
        return restored.view(corrupted.shape)


class LinearFilters:
    """The Wiener filters of several corruptions, each fitted once to the same images."""

    def __init__(self, images: ImageSet, seed: int) -> None:
        self._images = images
        self._pixels = images.pixels
        self._seed = seed
        self._fitted: dict[str, LinearFilter] = {}

    def of(self, corruption: Corruption) -> LinearFilter | None:
        """Return the filter of a corruption, or None for images of more than 4,096 values."""
        if self._pixels > MAX_PIXELS:
            return None
        key = json.dumps(corruption.config)
        if key not in self._fitted:
            self._fitted[key] = self._fit(corruption)
        return self._fitted[key]

    def _fit(self, corruption: Corruption) -> LinearFilter:
        """Fit from the variance of the noise if it is known, else from corrupted images."""
        variance = corruption.noise_variance
        rounds = self._rounds(corruption) if variance is None else 1
        if rounds * len(self._images) < self._pixels:
            pairs = self._clean_pairs() if variance is not None else self._pairs(corruption, rounds)
            x, y = (torch.cat(side).flatten(1).double() for side in zip(*pairs, strict=True))
            return LinearFilter.of_pairs(x, y, variance or 0.0)
        if variance is None:
            return LinearFilter.of_moments(*_moments(self._pairs(corruption, rounds), self._pixels))
        mean, covariance = self._clean_moments
        noisy = covariance + variance * torch.eye(self._pixels)
        return LinearFilter.of_moments(mean, mean, covariance, noisy)

    @cached_property
    def _clean_moments(self) -> tuple[Tensor, Tensor]:
        """Mean [D] and covariance [D, D] of the clean images."""
        mean, _, _, covariance = _moments(self._clean_pairs(), self._pixels)
        return mean, covariance

    def _clean_pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((clean, clean) for clean in in_batches(self._images))

    def _pairs(self, corruption: Corruption, rounds: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield clean and corrupted images several times, each time with new noise."""
        return chain.from_iterable(
            corrupted_batches(self._images, corruption, self._seed + number)
            for number in range(rounds)
        )

    def _rounds(self, corruption: Corruption) -> int:
        """Return how often each image is corrupted; more than once if there are few."""
        wanted = min(PAIRS_PER_PIXEL * self._pixels, MAX_PRODUCTS / self._pixels**2)
        return 1 if corruption.is_deterministic else math.ceil(wanted / len(self._images))


def _moments(
    pairs: Iterator[tuple[Tensor, Tensor]], pixels: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return E[x], E[y], Cov(x, y) and Cov(y) of batches of images x and y."""
    sums = torch.zeros(2, pixels, dtype=torch.float64)
    xy = torch.zeros(pixels, pixels, dtype=torch.float64)
    yy = torch.zeros(pixels, pixels, dtype=torch.float64)
    count = 0
    for clean, corrupted in pairs:
        # in float64: a blur reduces some directions to the size of float32 rounding errors
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
