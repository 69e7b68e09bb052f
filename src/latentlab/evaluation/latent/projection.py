"""Projections of latent codes to two or three dimensions."""

import numpy as np
import torch
from torch import Tensor

MAP_DIMENSIONS = (2, 3)
"""Numbers of dimensions that a map can show."""
TSNE_ITERATIONS = 500
"""Iterations of t-SNE; the first half is early exaggeration, and maps of thousands of points hardly
change afterwards."""


def pca(codes: np.ndarray, dimensions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Project codes [N, L] on principal components [N, D]; also return explained variances [D].

    If codes have fewer components, the missing ones are zero.
    """
    from sklearn.decomposition import PCA

    if not codes.std(0).any():  # PCA would divide by a variance of zero
        return np.zeros((len(codes), dimensions)), np.zeros(dimensions)
    components = min(dimensions, *codes.shape)
    fitted = PCA(n_components=components, svd_solver="full").fit(codes)
    missing = dimensions - components
    points = np.pad(fitted.transform(codes), ((0, 0), (0, missing)))
    return points, np.pad(fitted.explained_variance_ratio_, (0, missing))


def latent_plane(codes: Tensor) -> tuple[np.ndarray, list[str]]:
    """Return points [N, 2] of latent codes [N, L], and the names of the two axes.

    Two dimensions are returned as they are, others projected on the first principal components.
    Their signs are chosen so that maps of successive epochs look alike. This does not use `pca`,
    because importing scikit-learn takes seconds.
    """
    codes = codes.detach().cpu().double()
    if codes.shape[1] == 2:
        return codes.numpy(), ["latent dimension 1", "latent dimension 2"]
    centered = codes - codes.mean(0)
    _, singular_values, components = torch.linalg.svd(centered, full_matrices=False)
    components = components[:2]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    points = centered @ (components * largest.sign()).T
    shares = singular_values.square() / singular_values.square().sum().clamp_min(1e-12)
    missing = 2 - points.shape[1]
    names = [f"PC {n} ({share:.0%} of variance)" for n, share in enumerate(shares[:2].tolist(), 1)]
    return np.pad(points.numpy(), ((0, 0), (0, missing))), names + missing * [""]


def tsne_embeddings(codes: np.ndarray, perplexity: float, seed: int) -> dict[int, np.ndarray]:
    """Embed codes [N, L] by t-SNE in two and in three dimensions."""
    return {dimensions: tsne(codes, dimensions, perplexity, seed) for dimensions in MAP_DIMENSIONS}


def tsne(codes: np.ndarray, dimensions: int, perplexity: float, seed: int) -> np.ndarray:
    """Embed codes [N, L] in [N, D] by t-SNE (van der Maaten and Hinton 2008), starting from PCA."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # the perplexity must be smaller than the number of points
    perplexity = min(perplexity, (len(codes) - 1) / 3)
    start, _ = pca(codes, dimensions)
    # scaled as scikit-learn does for init="pca", so that the first steps are small
    start = (start / max(start[:, 0].std(), 1e-12) * 1e-4).astype(np.float32)
    # a coordinate that is equal for all points would never change
    constant = ~start.any(0)
    random = np.random.default_rng(seed)
    start[:, constant] = random.normal(scale=1e-4, size=(len(codes), int(constant.sum())))
    embedding = TSNE(
        dimensions, perplexity=perplexity, init=start, max_iter=TSNE_ITERATIONS, random_state=seed
    )
    # one thread: otherwise the map depends on the number of cores
    with threadpool_limits(1):
        points: np.ndarray = embedding.fit_transform(codes)
    return points
