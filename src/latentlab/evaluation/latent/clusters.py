"""Clusters of latent codes, which take the place of classes for images without labels."""

from dataclasses import dataclass

import numpy as np

CLUSTER_COUNTS = range(3, 13)
"""Numbers of clusters from which the best one is chosen."""
MAX_SCORED = 1000
"""Codes that the silhouette coefficient is computed from; it takes quadratic time."""
STARTS = 4
"""Runs of k-means from different centers, of which the best one is kept."""


@dataclass(frozen=True)
class Clusters:
    """Clusters with centers [K, L]; the first one is the largest.

    `medoids` [K, L] are the codes with the smallest sum of squared distances to the codes of their
    cluster, which are those next to the centers. `silhouette` is the silhouette coefficient, NaN
    if there is one cluster.
    """

    centers: np.ndarray
    medoids: np.ndarray
    silhouette: float

    @property
    def names(self) -> list[str]:
        """Names for legends and titles."""
        return [f"cluster {number}" for number in range(1, len(self.centers) + 1)]

    def assign(self, codes: np.ndarray) -> np.ndarray:
        """Return the index [N] of the cluster with the nearest center for codes [N, L]."""
        from sklearn.metrics import pairwise_distances_argmin

        indices: np.ndarray = pairwise_distances_argmin(codes, self.centers)
        return indices


def find_clusters(codes: np.ndarray, seed: int) -> Clusters:
    """Cluster codes [N, L] by k-means.

    The number of clusters is the one of `CLUSTER_COUNTS` with the largest silhouette coefficient.
    All codes are in one cluster if there are too few different codes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    different = len(np.unique(codes, axis=0))
    scored = np.random.default_rng(seed).permutation(len(codes))[:MAX_SCORED]
    best = Clusters(*_centers_and_medoids(codes, np.zeros(len(codes), int)), np.nan)
    with threadpool_limits(1):
        for count in CLUSTER_COUNTS:
            if count >= different:
                break
            labels = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(codes)
            present = len(np.unique(labels[scored]))
            if not 2 <= present < len(scored):
                continue
            silhouette = float(silhouette_score(codes[scored], labels[scored]))
            if not silhouette <= best.silhouette:  # also if that is NaN
                best = Clusters(*_centers_and_medoids(codes, labels), silhouette)
    return best


def _centers_and_medoids(codes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each cluster and the code next to it, the largest cluster first."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    centers = np.stack([codes[labels == index].mean(0) for index in order])
    nearest = [np.linalg.norm(codes - center, axis=1).argmin() for center in centers]
    return centers, codes[nearest]
