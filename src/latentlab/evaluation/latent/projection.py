"""Codes in two or three dimensions."""

import numpy as np

DIMENSIONS = (2, 3)
"""That a map can show."""
ITERATIONS = 500
"""Of t-SNE: half of them pull clusters together, and maps of thousands hardly change after that."""


def pca(codes: np.ndarray, dimensions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Codes [N, L] on their first principal components [N, D], with the explained variance [D].

    Components that codes do not have are zero.
    """
    from sklearn.decomposition import PCA

    if not codes.std(0).any():  # collapsed: nothing varies, and nothing is explained
        return np.zeros((len(codes), dimensions)), np.zeros(dimensions)
    kept = min(dimensions, *codes.shape)
    fitted = PCA(n_components=kept, svd_solver="full").fit(codes)
    missing = dimensions - kept
    points = np.pad(fitted.transform(codes), ((0, 0), (0, missing)))
    return points, np.pad(fitted.explained_variance_ratio_, (0, missing))


def tsne_embeddings(codes: np.ndarray, perplexity: float, seed: int) -> dict[int, np.ndarray]:
    """Codes [N, L] by t-SNE in each number of dimensions that a map can show."""
    return {dimensions: tsne(codes, dimensions, perplexity, seed) for dimensions in DIMENSIONS}


def tsne(codes: np.ndarray, dimensions: int, perplexity: float, seed: int) -> np.ndarray:
    """Codes [N, L] embedded in [N, D] by t-SNE (van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # the perplexity must stay below the number of points
    perplexity = min(perplexity, (len(codes) - 1) / 3)
    start, _ = pca(codes, dimensions)
    # as scikit-learn scales it, so that the early steps are small
    start = (start / max(start[:, 0].std(), 1e-12) * 1e-4).astype(np.float32)
    # a coordinate that starts as the same for all would stay so
    flat = ~start.any(0)
    random = np.random.default_rng(seed)
    start[:, flat] = random.normal(scale=1e-4, size=(len(codes), int(flat.sum())))
    embedding = TSNE(
        dimensions, perplexity=perplexity, init=start, max_iter=ITERATIONS, random_state=seed
    )
    # on one thread the map is the same on any number of cores
    with threadpool_limits(1):
        return embedding.fit_transform(codes)
