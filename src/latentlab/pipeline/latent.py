"""What a latent space looks like and what it knows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.classification import as_key
from latentlab.evaluation.latent.density import Axes
from latentlab.evaluation.latent.maps import (
    map_metrics,
    maps_of_embeddings,
    own_axes,
    principal_components,
)
from latentlab.evaluation.latent.metrics import (
    class_metrics_of_codes,
    cluster_metrics,
    collapsed_share,
)
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.evaluation.latent.walks import (
    linear_interpolation,
    pairs_to_walk,
    smoothness,
    spherical_interpolation,
)
from latentlab.evaluation.pixel_pca import PixelPca
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.params.schema import EvaluateParams
from latentlab.plots.images import plot_grid, plot_plane, plot_rows, save_animation
from latentlab.plots.maps import plot_density_maps, plot_histograms, plot_latent_map

DRAWN = 64
GRID = 15
MIDDLE = (2, 98)
"""Percentiles of the codes between which the plane is decoded."""


def examine(
    view: EncodedProbe,
    embedded: dict[int, np.ndarray],
    settings: EvaluateParams,
    folder: Path,
    name: str,
) -> dict[str, Any]:
    """All figures of a latent space; its maps, density and walks go to `folder` under `name`.

    `embedded` are the codes of the view as `tsne_embeddings` has them.
    """
    return (
        probe_metrics(view)
        | draw_maps(view, embedded, folder / name)
        | draw_density(view, folder / name)
        | {"walks": walk_between_classes(view, settings, folder / f"{name}_walk")}
    )


def probe_metrics(view: EncodedProbe) -> dict[str, Any]:
    """What the codes say of the classes, and how they use their dimensions."""
    return (
        class_metrics_of_codes(view.train_codes, view.train_labels, view.codes, view.labels)
        | cluster_metrics(view.codes, view.labels, view.seen.seed)
        | {"collapsed_share": collapsed_share(view.codes)}
    )


def evaluate_pixel_pca(seen: ProbeImages, dimensions: int, images: ImageSet) -> dict[str, Any]:
    """The line to beat: principal components of the pixels, as many as a space has dimensions.

    Their error is that of `images`.
    """
    baseline = PixelPca.fit(seen.train, dimensions, seen.seed)
    view = EncodedProbe(LatentSpace("pixel PCA", baseline.encode, baseline.decode), seen)
    latent = probe_metrics(view) | map_metrics(view, principal_components(view))
    explained = {"explained_variance": baseline.explained_variance}
    return reconstruction_metrics(baseline, images) | explained | {"latent": latent}


def draw_maps(view: EncodedProbe, embedded: dict[int, np.ndarray], target: Path) -> dict[str, Any]:
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
    return map_metrics(view, projected)


def draw_density(view: EncodedProbe, target: Path) -> dict[str, float]:
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
    plot_plane(Path(f"{target}_latent_grid.png"), images, across, up, names, title)


def walk_between_classes(
    view: EncodedProbe, settings: EvaluateParams, target: Path
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
        "linear": space.images(linear_interpolation(*ends, steps)),
        "spherical": space.images(spherical_interpolation(*ends, steps)),
    }
    title = f"{space.called}: from {names[0]} to {names[1]}"
    plot_rows(Path(f"{target}.png"), strips, title)
    there = list(zip(*strips.values(), strict=True))
    frames = [torch.stack(pair) for pair in there + there[-2:0:-1]]
    save_animation(Path(f"{target}.gif"), frames)
    return {f"{name}_smoothness": smoothness(images) for name, images in strips.items()}
