"""Where codes are, as a density that new ones can be drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.neighbors import KernelDensity

MOST_DIMENSIONS = 3
"""Of a code whose density is estimated along its own axes; longer ones are turned first."""
BANDWIDTHS = np.logspace(-1.5, 0.5, 20)
FOLDS = 5
FEWEST = 2 * FOLDS
SMALLEST_SCALE = 1e-6
"""An axis on which codes do not vary is not blown up."""


@dataclass(frozen=True)
class Axes:
    """Axes `directions` [L, L] through `center` [L], with a unit `scales` [L] along each."""

    center: np.ndarray
    directions: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Axes:
        """The axes of codes [N, L] themselves where they are few, else principal components."""
        center, directions = codes.mean(0), np.eye(codes.shape[1])
        if codes.shape[1] > MOST_DIMENSIONS:
            directions = _principal_directions(codes)
        scales = ((codes - center) @ directions).std(0)
        return cls(center, directions, np.maximum(scales, SMALLEST_SCALE))

    @classmethod
    def to_look_at(cls, codes: np.ndarray) -> Axes:
        """The codes [N, L] as they are where L is two, else principal components; not scaled."""
        dimensions = codes.shape[1]
        if dimensions <= 2:
            return cls(np.zeros(dimensions), np.eye(dimensions), np.ones(dimensions))
        return cls(codes.mean(0), _principal_directions(codes), np.ones(dimensions))

    def to_points(self, codes: np.ndarray) -> np.ndarray:
        """Codes [N, L] to points [N, L] along the axes."""
        return (codes - self.center) @ self.directions / self.scales

    def to_codes(self, points: np.ndarray) -> np.ndarray:
        """The way back."""
        return ((points * self.scales) @ self.directions.T + self.center).astype(np.float32)


def _principal_directions(codes: np.ndarray) -> np.ndarray:
    """[L, L], the most varied first."""
    return np.linalg.eigh(np.cov(codes, rowvar=False))[1][:, ::-1]


@dataclass(frozen=True)
class CodeDensity:
    """A Gaussian kernel density estimate of codes [N, L], along `axes`."""

    axes: Axes
    kernels: KernelDensity

    @property
    def bandwidth(self) -> float:
        """Of each kernel, in standard deviations of the codes along each axis."""
        return float(self.kernels.bandwidth_)

    @property
    def count(self) -> int:
        """The codes it is made of."""
        return len(self.kernels.tree_.data)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """New codes [count, L]."""
        return self.axes.to_codes(self.kernels.sample(count, random_state=seed))


def fit_density(codes: np.ndarray, seed: int) -> CodeDensity:
    """Fit a density to codes [N, L], its bandwidth by cross-validated likelihood on a grid."""
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        axes = Axes.of(codes.astype(np.float64))
        points = axes.to_points(codes)
        if len(points) < FEWEST:
            return CodeDensity(axes, KernelDensity(bandwidth="scott").fit(points))
        folds = KFold(FOLDS, shuffle=True, random_state=seed)
        search = GridSearchCV(KernelDensity(rtol=1e-4), {"bandwidth": BANDWIDTHS}, cv=folds)
        best = search.fit(points).best_params_["bandwidth"]
        return CodeDensity(axes, KernelDensity(bandwidth=best).fit(points))
