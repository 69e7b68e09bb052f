"""The codes of a latent space in two and three dimensions, and how far each map can be trusted."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from latentlab.evaluation.codes import trustworthiness_of
from latentlab.latent.projection import pca, tsne
from latentlab.latent.space import View

DIMENSIONS = (2, 3)
"""That a map can show."""


@dataclass(frozen=True)
class Map:
    """Codes [N, D] on named axes; `explained` is the share of their variance, where it is known."""

    called: str
    points: np.ndarray
    axes: list[str]
    explained: float | None = None


def own_axes(view: View) -> dict[str, Map]:
    """The codes themselves, where they have no more dimensions than a map."""
    dimensions = view.codes.shape[1]
    if dimensions not in DIMENSIONS:
        return {}
    return {"latent": Map("latent", view.codes, [f"code {n + 1}" for n in range(dimensions)])}


def principal_components(view: View) -> dict[str, Map]:
    """The first principal components of the codes."""
    maps = {}
    for dimensions in DIMENSIONS:
        points, shares = pca(view.codes, dimensions)
        axes = [f"PC {n + 1} ({share:.0%} of variance)" for n, share in enumerate(shares)]
        maps[f"pca_{dimensions}d"] = Map("PCA", points, axes, float(shares.sum()))
    return maps


def neighbour_embeddings(view: View, perplexity: float) -> dict[str, Map]:
    """The codes by t-SNE."""
    maps = {}
    for dimensions in DIMENSIONS:
        points = tsne(view.codes, dimensions, perplexity, view.seen.seed)
        axes = [f"t-SNE {n + 1}" for n in range(dimensions)]
        maps[f"tsne_{dimensions}d"] = Map("t-SNE", points, axes)
    return maps


def figures_of_maps(view: View, maps: dict[str, Map]) -> dict[str, Any]:
    """How far each map of the codes can be trusted, and what the linear ones explain."""
    trusted = {kind: trustworthiness_of(view.codes, each.points) for kind, each in maps.items()}
    explained = {k: each.explained for k, each in maps.items() if each.explained is not None}
    return {"trustworthiness": trusted, "explained_variance": explained}
