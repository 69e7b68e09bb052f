"""The codes of a latent space in two and three dimensions, and how far each map can be trusted."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from latentlab.evaluation.latent.metrics import trustworthiness_of
from latentlab.evaluation.latent.projection import DIMENSIONS, pca
from latentlab.evaluation.latent.space import EncodedProbe


@dataclass(frozen=True)
class Map:
    """Codes [N, D] on named axes; `explained` is the share of their variance, where it is known."""

    called: str
    points: np.ndarray
    axes: list[str]
    explained: float | None = None


def own_axes(view: EncodedProbe) -> dict[str, Map]:
    """The codes themselves, where they have no more dimensions than a map."""
    dimensions = view.codes.shape[1]
    if dimensions not in DIMENSIONS:
        return {}
    return {"latent": Map("latent", view.codes, [f"code {n + 1}" for n in range(dimensions)])}


def principal_components(view: EncodedProbe) -> dict[str, Map]:
    """The first principal components of the codes."""
    maps = {}
    for dimensions in DIMENSIONS:
        points, shares = pca(view.codes, dimensions)
        axes = [f"PC {n + 1} ({share:.0%} of variance)" for n, share in enumerate(shares)]
        maps[f"pca_{dimensions}d"] = Map("PCA", points, axes, float(shares.sum()))
    return maps


def maps_of_embeddings(embedded: dict[int, np.ndarray]) -> dict[str, Map]:
    """The codes as `tsne_embeddings` has them."""
    return {
        f"tsne_{dimensions}d": Map("t-SNE", points, [f"t-SNE {n + 1}" for n in range(dimensions)])
        for dimensions, points in embedded.items()
    }


def map_metrics(view: EncodedProbe, maps: dict[str, Map]) -> dict[str, Any]:
    """How far each map of the codes can be trusted, and what the linear ones explain."""
    trusted = {kind: trustworthiness_of(view.codes, each.points) for kind, each in maps.items()}
    explained = {k: each.explained for k, each in maps.items() if each.explained is not None}
    return {"trustworthiness": trusted, "explained_variance": explained}
