"""The density of latent codes, estimated with Gaussian kernels, for drawing new codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.neighbors import KernelDensity

MAX_OWN_AXES = 3
"""Latent dimensions up to which the density is estimated along the axes of the codes themselves;
longer codes are rotated to their principal components first."""
BANDWIDTHS = np.logspace(-1.5, 0.5, 20)
FOLDS = 5
MIN_CODES_FOR_SEARCH = 2 * FOLDS
MIN_SCALE = 1e-6
"""Scale of an axis along which codes do not vary; it avoids a division by zero."""


@dataclass(frozen=True)
class Axes:
    """K orthogonal axes `directions` [L, K] through `center` [L], with a unit `scales` [K] each."""

    center: np.ndarray
    directions: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Axes:
        """Return standardized axes of codes [N, L], for density estimation.

        The axes of the codes themselves for up to three dimensions, else their principal
        components.
        """
        if codes.shape[1] > MAX_OWN_AXES:
            return cls._standardized(codes, _principal_directions(codes))
        return cls._standardized(codes, np.eye(codes.shape[1]))

    @classmethod
    def principal_plane(cls, codes: np.ndarray) -> Axes:
        """Return the first two principal components of codes [N, L], standardized."""
        return cls._standardized(codes, _principal_directions(codes)[:, :2])

    @classmethod
    def _standardized(cls, codes: np.ndarray, directions: np.ndarray) -> Axes:
        center = codes.mean(0)
        scales = ((codes - center) @ directions).std(0)
        return cls(center, directions, np.maximum(scales, MIN_SCALE))

    @classmethod
    def for_plots(cls, codes: np.ndarray) -> Axes:
        """Return unscaled axes of codes [N, L], for plots of the first two of them.

        The axes of the codes themselves for up to two dimensions, else their principal components.
        """
        dimensions = codes.shape[1]
        if dimensions <= 2:
            return cls(np.zeros(dimensions), np.eye(dimensions), np.ones(dimensions))
        return cls(codes.mean(0), _principal_directions(codes), np.ones(dimensions))

    def to_points(self, codes: np.ndarray) -> np.ndarray:
        """Map codes [N, L] to points [N, K] along the axes."""
        points: np.ndarray = (codes - self.center) @ self.directions / self.scales
        return points

    def to_codes(self, points: np.ndarray) -> np.ndarray:
        """Map points [N, K] along the axes to codes [N, L], float32."""
        codes = (points * self.scales) @ self.directions.T + self.center
        return np.asarray(codes, np.float32)


def _principal_directions(codes: np.ndarray) -> np.ndarray:
    """Return the principal directions [L, L] of codes, the largest variance first."""
    return np.linalg.eigh(np.cov(codes, rowvar=False))[1][:, ::-1]


@dataclass(frozen=True)
class CodeDensity:
    """A Gaussian kernel density estimate of codes [N, L] along `axes`."""

    axes: Axes
    kernels: KernelDensity

    @property
    def bandwidth(self) -> float:
        """Standard deviation of each kernel, in standard deviations of the codes along an axis."""
        return float(self.kernels.bandwidth_)

    @property
    def count(self) -> int:
        """Number of codes that the density was estimated from."""
        return len(self.kernels.tree_.data)

    def log_density(self, codes: np.ndarray) -> np.ndarray:
        """Return the logarithm [N] of the density at codes [N, L], up to a constant."""
        values: np.ndarray = self.kernels.score_samples(self.axes.to_points(codes))
        return values

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Draw new codes [count, L]."""
        return self.axes.to_codes(self.kernels.sample(count, random_state=seed))


def fit_density(codes: np.ndarray, seed: int, axes: Axes | None = None) -> CodeDensity:
    """Estimate the density of codes [N, L] along `axes`, by default `Axes.of(codes)`.

    The bandwidth is chosen from a grid by cross-validated likelihood, or by Scott's rule for fewer
    than ten codes.
    """
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        axes = axes or Axes.of(codes.astype(np.float64))
        points = axes.to_points(codes)
        if len(points) < MIN_CODES_FOR_SEARCH:
            return CodeDensity(axes, KernelDensity(bandwidth="scott").fit(points))
        folds = KFold(FOLDS, shuffle=True, random_state=seed)
        search = GridSearchCV(KernelDensity(rtol=1e-4), {"bandwidth": BANDWIDTHS}, cv=folds)
        best = search.fit(points).best_params_["bandwidth"]
        return CodeDensity(axes, KernelDensity(bandwidth=best).fit(points))


def uniform_codes(codes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw new codes [count, L] uniformly between the smallest and largest value per dimension."""
    random = np.random.default_rng(seed)
    return random.uniform(codes.min(0), codes.max(0), (count, codes.shape[1])).astype(np.float32)
