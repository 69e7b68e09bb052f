"""Maps of a latent space in two and three dimensions, and how far each can be trusted."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from latentlab.evaluation.latent.metrics import map_trustworthiness
from latentlab.evaluation.latent.projection import MAP_DIMENSIONS, pca
from latentlab.evaluation.latent.space import EncodedProbe


@dataclass(frozen=True)
class LatentMap:
    """Points [N, D] of latent codes on named axes, projected by `method`.

    `explained_variance` is the share of the variance of the codes; None for nonlinear methods.
    """

    method: str
    points: np.ndarray
    axes: list[str]
    explained_variance: float | None = None


def latent_axes_map(probe: EncodedProbe) -> dict[str, LatentMap]:
    """Return a map of the codes themselves, if they have two or three dimensions."""
    dimensions = probe.codes.shape[1]
    if dimensions not in MAP_DIMENSIONS:
        return {}
    axes = [f"latent dimension {number + 1}" for number in range(dimensions)]
    return {"latent": LatentMap("latent codes", probe.codes, axes)}


def pca_maps(probe: EncodedProbe) -> dict[str, LatentMap]:
    """Return maps of the first two and three principal components of the codes."""
    maps = {}
    for dimensions in MAP_DIMENSIONS:
        points, shares = pca(probe.codes, dimensions)
        axes = [f"PC {n + 1} ({share:.0%} of variance)" for n, share in enumerate(shares)]
        maps[f"pca_{dimensions}d"] = LatentMap("PCA", points, axes, float(shares.sum()))
    return maps


def tsne_maps(embeddings: dict[int, np.ndarray]) -> dict[str, LatentMap]:
    """Return maps of the codes from the result of `tsne_embeddings`."""
    return {
        f"tsne_{dimensions}d": LatentMap(
            "t-SNE", points, [f"t-SNE {n + 1}" for n in range(dimensions)]
        )
        for dimensions, points in embeddings.items()
    }


def map_metrics(probe: EncodedProbe, maps: dict[str, LatentMap]) -> dict[str, Any]:
    """Return the trustworthiness of each map, and the explained variance of the linear ones."""
    return {
        "trustworthiness": {
            name: map_trustworthiness(probe.codes, each.points) for name, each in maps.items()
        },
        "explained_variance": {
            name: each.explained_variance
            for name, each in maps.items()
            if each.explained_variance is not None
        },
    }
