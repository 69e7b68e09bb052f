"""The linear autoencoder that a learnt one has to beat: principal components of the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

MOST_PIXELS = 4096
"""Of images whose covariance is decomposed exactly."""


class PixelPca:
    """Images [N, C, S, S] to the first principal components of their pixels [N, L], and back."""

    def __init__(self, fitted: PCA, image_shape: tuple[int, ...]) -> None:
        self._fitted = fitted
        self._image_shape = image_shape

    @classmethod
    def fit(cls, images: ImageSet, dimensions: int, seed: int) -> PixelPca:
        """Fit it to images; of fewer dimensions where they have no more."""
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        pixels = images.floats().flatten(1).numpy()
        exact = pixels.shape[1] <= MOST_PIXELS
        with threadpool_limits(1):
            fitted = PCA(
                min(dimensions, *pixels.shape),
                svd_solver="covariance_eigh" if exact else "randomized",
                random_state=seed,
            ).fit(pixels)
        return cls(fitted, images.image_shape)

    @property
    def explained_variance(self) -> float:
        """Share of the variance of the pixels that is in the codes."""
        return float(self._fitted.explained_variance_ratio_.sum())

    def encode(self, images: Tensor) -> Tensor:
        """Codes [N, L]."""
        return torch.from_numpy(self._fitted.transform(images.flatten(1).numpy()))

    def decode(self, codes: Tensor) -> Tensor:
        """Images [N, C, S, S]."""
        pixels = torch.from_numpy(self._fitted.inverse_transform(codes.numpy()))
        return pixels.float().view(-1, *self._image_shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S]."""
        return self.decode(self.encode(images))
