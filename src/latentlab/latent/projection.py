"""Codes on a plane."""

import numpy as np


def pca(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes [N, L] on their first two principal components [N, 2], with the explained variance."""
    from sklearn.decomposition import PCA

    if codes.shape[1] == 1:
        return np.column_stack([codes, np.zeros_like(codes)]), np.array([1.0, 0.0])
    fitted = PCA(n_components=2, svd_solver="full").fit(codes)
    return fitted.transform(codes), fitted.explained_variance_ratio_


def tsne(codes: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Codes [N, L] embedded in the plane [N, 2] by t-SNE (van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # the perplexity must stay below the number of points
    perplexity = min(perplexity, (len(codes) - 1) / 3)
    embedding = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    # on one thread the map is the same on any number of cores
    with threadpool_limits(1):
        return embedding.fit_transform(codes)
