"""What a latent space looks like and what it knows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.classification import as_key
from latentlab.evaluation.codes import (
    class_figures,
    cluster_figures,
    collapsed_share,
)
from latentlab.evaluation.pixel_pca import PixelPca
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.latent.density import Axes
from latentlab.latent.maps import (
    figures_of_maps,
    maps_of_embeddings,
    own_axes,
    principal_components,
)
from latentlab.latent.space import LatentSpace, Seen, View
from latentlab.latent.walks import (
    linear_walk,
    pairs_to_walk,
    smoothness,
    spherical_walk,
)
from latentlab.params.schema import EvaluateParams
from latentlab.plots.animation import save_animation
from latentlab.plots.images import plot_grid, plot_plane, plot_rows
from latentlab.plots.maps import plot_density_maps, plot_histograms, plot_latent_map

DRAWN = 64
GRID = 15
MIDDLE = (2, 98)
"""Percentiles of the codes between which the plane is decoded."""


def examine(
    view: View, embedded: dict[int, np.ndarray], settings: EvaluateParams, folder: Path, name: str
) -> dict[str, Any]:
    """All figures of a latent space; its maps, density and walks go to `folder` under `name`.

    `embedded` are the codes of the view as `neighbour_embeddings` has them.
    """
    return (
        figures_of_view(view)
        | draw_maps(view, embedded, folder / name)
        | draw_density(view, folder / name)
        | {"walks": walk_between_classes(view, settings, folder / f"{name}_walk")}
    )


def figures_of_view(view: View) -> dict[str, Any]:
    """What the codes say of the classes, and how they use their dimensions."""
    return (
        class_figures(view.train_codes, view.train_labels, view.codes, view.labels)
        | cluster_figures(view.codes, view.labels, view.seen.seed)
        | {"collapsed_share": collapsed_share(view.codes)}
    )


def judge_pixel_pca(seen: Seen, dimensions: int, images: ImageSet) -> dict[str, Any]:
    """The line to beat: principal components of the pixels, as many as a space has dimensions.

    Their error is that of `images`.
    """
    baseline = PixelPca.fit(seen.train, dimensions, seen.seed)
    view = View(LatentSpace("pixel PCA", baseline.encode, baseline.decode), seen)
    latent = figures_of_view(view) | figures_of_maps(view, principal_components(view))
    explained = {"explained_variance": baseline.explained_variance}
    return reconstruction_metrics(baseline, images) | explained | {"latent": latent}


def draw_maps(view: View, embedded: dict[int, np.ndarray], target: Path) -> dict[str, Any]:
    """Draw maps of the codes; how far each can be trusted, and what the linear ones explain.

    `target` is the start of the names of all pictures.
    """
    shown = f"{len(view.codes):,} of {view.seen.of:,} {view.seen.split} images"
    about = f"{view.space.called}, {view.codes.shape[1]} dimensions, {shown}"
    projected = principal_components(view) | maps_of_embeddings(embedded)
    for kind, each in (own_axes(view) | projected).items():
        plot_latent_map(
            Path(f"{target}_{kind}.png"),
            each.points,
            view.labels,
            view.seen.classes,
            each.axes,
            f"{each.called}: {about}",
        )
    return figures_of_maps(view, projected)


def draw_density(view: View, target: Path) -> dict[str, float]:
    """Estimate the density of the codes, and draw from it: points, images, the plane decoded."""
    codes, density = view.train_codes, view.density
    drawn = density.sample(len(codes), view.seen.seed)
    title = (
        f"{view.space.called}: kernel density of {density.count:,} training codes, "
        f"bandwidth {density.bandwidth:.2g}"
    )
    samples = view.space.images(drawn[:DRAWN])
    plot_grid(
        Path(f"{target}_kde_samples.png"), samples, 8, f"{view.space.called}\nimages of drawn codes"
    )
    if codes.shape[1] == 1:
        along = {"encoded": codes[:, 0], "sampled": drawn[:, 0]}
        plot_histograms(Path(f"{target}_kde.png"), along, "code", title)
    else:
        axes = Axes.to_look_at(codes.astype(np.float64))
        kind = "code" if codes.shape[1] == 2 else "principal component"
        names = [f"{kind} {axis + 1}" for axis in range(2)]
        places = {
            "encoded": axes.to_points(codes)[:, :2],
            "sampled": axes.to_points(drawn)[:, :2],
        }
        plot_density_maps(Path(f"{target}_kde.png"), places, names, title)
        _draw_plane(view.space, axes, places["encoded"], names, target)
    return {"kde_bandwidth": density.bandwidth}


def _draw_plane(
    space: LatentSpace, axes: Axes, places: np.ndarray, names: list[str], target: Path
) -> None:
    """Decode a uniform grid over the first two axes; along all others codes are at the mean."""
    across, up = (np.linspace(*np.percentile(places[:, axis], MIDDLE), GRID) for axis in range(2))
    points = np.zeros((GRID * GRID, len(axes.center)))
    points[:, :2] = [(x, y) for y in up[::-1] for x in across]
    images = space.images(axes.to_codes(points))
    title = f"{space.called}: images of a grid of codes"
    plot_plane(Path(f"{target}_plane.png"), images, across, up, names, title)


def walk_between_classes(
    view: View, settings: EvaluateParams, target: Path
) -> dict[str, dict[str, float]]:
    """Walk between the mean codes of classes: strips, an animation, and how even the steps are."""
    centroids, classes = view.centroids, view.seen.classes
    pairs = settings.walks
    if pairs == "auto":
        pairs = [(classes[a], classes[b]) for a, b in pairs_to_walk(centroids)]
    figures: dict[str, dict[str, float]] = {}
    for names in pairs:
        ends = [torch.from_numpy(centroids[classes.index(name)]) for name in names]
        between = as_key("_to_".join(names))
        picture = f"{target}_{between}"
        figures[between] = walk(view.space, ends, names, settings.walk_steps, picture)
    return figures


def walk(
    space: LatentSpace, ends: list[Tensor], names: tuple[str, str], steps: int, target: str
) -> dict[str, float]:
    """Draw the straight and the spherical walk between two codes; the smoothness of both."""
    strips = {
        "straight": space.images(linear_walk(*ends, steps)),
        "spherical": space.images(spherical_walk(*ends, steps)),
    }
    title = f"{space.called}: from {names[0]} to {names[1]}"
    plot_rows(Path(f"{target}.png"), strips, title)
    there = list(zip(*strips.values(), strict=True))
    frames = [torch.stack(pair) for pair in there + there[-2:0:-1]]
    save_animation(Path(f"{target}.gif"), frames)
    return {f"{name}_smoothness": smoothness(images) for name, images in strips.items()}
