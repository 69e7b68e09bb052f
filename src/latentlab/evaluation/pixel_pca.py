"""The linear baseline of an autoencoder: principal components of the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

MAX_PIXELS = 4096
"""Values per image up to which the components are exact."""


class PixelPca:
    """A projection of images [N, C, S, S] on the principal components of their pixels [N, L]."""

    def __init__(self, fitted: PCA, image_shape: tuple[int, ...]) -> None:
        self._fitted = fitted
        self._image_shape = image_shape

    @classmethod
    def fit(cls, images: ImageSet, dimensions: int, seed: int) -> PixelPca:
        """Fit the components to images; fewer than `dimensions` if there are not as many."""
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        pixels = images.floats().flatten(1).numpy()
        exact = "full" if len(pixels) < pixels.shape[1] else "covariance_eigh"
        with threadpool_limits(1):
            fitted = PCA(
                min(dimensions, *pixels.shape),
                svd_solver=exact if pixels.shape[1] <= MAX_PIXELS else "randomized",
                random_state=seed,
            ).fit(pixels)
        return cls(fitted, images.image_shape)

    @property
    def explained_variance(self) -> float:
        """Share of the variance of the pixels that the components explain."""
        return float(self._fitted.explained_variance_ratio_.sum())

    def encode(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] to codes [N, L]."""
        return torch.from_numpy(self._fitted.transform(images.flatten(1).numpy()))

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes [N, L] to images [N, C, S, S]."""
        pixels = torch.from_numpy(self._fitted.inverse_transform(codes.numpy()))
        return pixels.float().view(-1, *self._image_shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstruct images [N, C, S, S] from their codes."""
        return self.decode(self.encode(images))
