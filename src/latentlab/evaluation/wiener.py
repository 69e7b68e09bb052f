"""The optimal linear filter, the line that a denoiser has to beat."""

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.restoration import spoilt_batches

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
        """Fit it to images, spoilt once."""
        pixels = images.images[0].numel()
        sums = torch.zeros(2, pixels, dtype=torch.float64)
        clean_spoilt = torch.zeros(pixels, pixels, dtype=torch.float64)
        spoilt_spoilt = torch.zeros(pixels, pixels, dtype=torch.float64)
        for clean, spoilt in spoilt_batches(images, corruption, seed):
            x, y = clean.flatten(1), spoilt.flatten(1)
            sums += torch.stack([x.sum(0, dtype=torch.float64), y.sum(0, dtype=torch.float64)])
            clean_spoilt += x.T @ y
            spoilt_spoilt += y.T @ y
        mean_x, mean_y = sums / len(images)
        covariance_xy = clean_spoilt / len(images) - torch.outer(mean_x, mean_y)
        covariance_y = spoilt_spoilt / len(images) - torch.outer(mean_y, mean_y)
        covariance_y.diagonal().add_(RIDGE * covariance_y.diagonal().mean())
        weights = torch.linalg.solve(covariance_y, covariance_xy.T)
        return cls(weights.float(), (mean_x - mean_y @ weights).float())

    def __call__(self, spoilt: Tensor) -> Tensor:
        """Restored images [N, C, S, S]."""
        return (spoilt.flatten(1) @ self._weights + self._offset).view(spoilt.shape)
