"""Evaluation of a latent space: metrics, maps, density and interpolations, with their plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.class_keys import class_keys
from latentlab.evaluation.latent.density import Axes, fit_density, uniform_codes
from latentlab.evaluation.latent.interpolation import (
    linear_interpolation,
    nearest_and_farthest,
    smoothness,
    spherical_interpolation,
)
from latentlab.evaluation.latent.maps import latent_axes_map, map_metrics, pca_maps, tsne_maps
from latentlab.evaluation.latent.metrics import cluster_metrics, collapsed_share, probe_accuracies
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.evaluation.pixel_pca import PixelPca
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.params.schema import EvaluateParams
from latentlab.plots.images import plot_latent_grid, plot_rows, save_animation
from latentlab.plots.labels import class_labels
from latentlab.plots.maps import plot_density_maps, plot_histograms, plot_latent_map

SAMPLE_ROWS, SAMPLES_PER_ROW = 3, 12
"""Images drawn from each density in a plot."""
GRID_SIZE = 15
GRID_PERCENTILES = (2, 98)
"""Percentiles of the codes between which the latent grid is decoded."""


def evaluate_latent_space(
    probe: EncodedProbe,
    embeddings: dict[int, np.ndarray],
    settings: EvaluateParams,
    folder: Path,
    name: str,
) -> dict[str, Any]:
    """Return all metrics of a latent space and write its plots to `folder`.

    `embeddings` is the result of `tsne_embeddings` for the codes of the probe. File names start
    with `name`.
    """
    return (
        code_metrics(probe)
        | plot_maps(probe, embeddings, folder / name)
        | plot_density(probe, folder / name)
        | {"walks": interpolate(probe, settings, folder / f"{name}_walk")}
    )


def code_metrics(probe: EncodedProbe) -> dict[str, Any]:
    """Return what the codes say about the classes, and the share of collapsed dimensions.

    Without classes, return the number of clusters and their silhouette coefficient instead.
    """
    collapsed = {"collapsed_share": collapsed_share(probe.codes)}
    if not probe.source.classes:
        clusters = probe.clusters
        found: dict[str, float] = {"clusters": len(clusters.centers)}
        if len(clusters.centers) > 1:
            found["cluster_silhouette"] = clusters.silhouette
        return found | collapsed
    return (
        probe_accuracies(probe.train_codes, probe.train_labels, probe.codes, probe.labels)
        | cluster_metrics(probe.codes, probe.labels, probe.source.seed)
        | collapsed
    )


def evaluate_pixel_pca(source: ProbeImages, dimensions: int, images: ImageSet) -> dict[str, Any]:
    """Return the metrics of the linear baseline: principal components of the pixels.

    It has as many `dimensions` as the latent space to compare with. Reconstruction errors are of
    `images`, all other metrics of the probe images.
    """
    baseline = PixelPca.fit(source.train, dimensions, source.seed)
    probe = EncodedProbe(LatentSpace("Pixel PCA", baseline.encode, baseline.decode), source)
    latent = code_metrics(probe) | map_metrics(probe, pca_maps(probe))
    explained = {"explained_variance": baseline.explained_variance}
    return reconstruction_metrics(baseline, images) | explained | {"latent": latent}


def plot_maps(
    probe: EncodedProbe, embeddings: dict[int, np.ndarray], target: Path
) -> dict[str, Any]:
    """Draw maps of the codes and return their trustworthiness and explained variance.

    `target` is the common beginning of the paths of all plots.
    """
    source, (count, dimensions) = probe.source, probe.codes.shape
    images = f"{count:,} of {source.split_size:,} {source.split} images"
    labels, names, log_density = probe.labels, source.classes, None
    if not names:
        labels, names = probe.clusters.assign(probe.codes), probe.clusters.names
        log_density = probe.density.log_density(probe.codes)
    projections = pca_maps(probe) | tsne_maps(embeddings)
    for name, each in (latent_axes_map(probe) | projections).items():
        plot_latent_map(
            Path(f"{target}_{name}.png"),
            each.points,
            labels,
            names,
            each.axes,
            f"{probe.space.name}, {dimensions} latent dimensions\n{each.method} of {images}",
            log_density=log_density,
        )
    return map_metrics(probe, projections)


def plot_density(probe: EncodedProbe, target: Path) -> dict[str, float]:
    """Estimate the density of the codes and draw it, with samples from it and a latent grid.

    `target` is the common beginning of the paths of all plots. Returns the bandwidth.
    """
    codes, density, space = probe.train_codes, probe.density, probe.space
    sampled = density.sample(len(codes), probe.source.seed)
    _plot_samples(probe, target)
    title = (
        f"{space.name}: kernel density of {density.count:,} training codes, "
        f"bandwidth {density.bandwidth:.2g}"
    )
    if codes.shape[1] == 1:
        values = {"Encoded images": codes[:, 0], "Density samples": sampled[:, 0]}
        plot_histograms(Path(f"{target}_kde.png"), values, "latent dimension 1", title)
    else:
        axes = Axes.for_plots(codes.astype(np.float64))
        kind = "latent dimension" if codes.shape[1] == 2 else "principal component"
        axis_names = [f"{kind} {number}" for number in (1, 2)]
        points = {
            "Encoded images": axes.to_points(codes)[:, :2],
            "Density samples": axes.to_points(sampled)[:, :2],
        }
        plot_density_maps(Path(f"{target}_kde.png"), points, axis_names, title)
        _plot_latent_grid(space, axes, points["Encoded images"], axis_names, target)
    return {"kde_bandwidth": density.bandwidth}


def _plot_samples(probe: EncodedProbe, target: Path) -> None:
    """Decode random codes: uniform ones, from the density of two components, and of all."""
    codes, seed, count = probe.density_codes, probe.source.seed, SAMPLE_ROWS * SAMPLES_PER_ROW
    drawn = {"uniform": uniform_codes(codes, count, seed)}
    if codes.shape[1] > 2:
        plane = fit_density(codes, seed, Axes.principal_plane(codes.astype(np.float64)))
        drawn["PCA plane"] = plane.sample(count, seed)
    drawn["density"] = probe.density.sample(count, seed)
    rows = {
        f"{name} {number}": probe.space.images(some)
        for name, values in drawn.items()
        for number, some in enumerate(np.split(values, SAMPLE_ROWS), 1)
    }
    title = f"{probe.space.name}: images decoded from random codes"
    plot_rows(Path(f"{target}_samples.png"), rows, title)


def _plot_latent_grid(
    space: LatentSpace, axes: Axes, points: np.ndarray, axis_names: list[str], target: Path
) -> None:
    """Decode a regular grid over the first two axes; all other coordinates are at their mean."""
    x_values, y_values = (
        np.linspace(low, high, GRID_SIZE)
        for low, high in np.percentile(points, GRID_PERCENTILES, axis=0).T
    )
    grid = np.zeros((GRID_SIZE * GRID_SIZE, len(axes.center)))
    grid[:, :2] = [(x, y) for y in y_values[::-1] for x in x_values]
    images = space.images(axes.to_codes(grid))
    title = f"{space.name}: decoded latent grid"
    plot_latent_grid(
        Path(f"{target}_latent_grid.png"), images, x_values, y_values, axis_names, title
    )


def interpolate(
    probe: EncodedProbe, settings: EvaluateParams, target: Path
) -> dict[str, dict[str, float]]:
    """Interpolate between class centroids, or cluster medoids without classes.

    The pairs are `settings.walks`; with `auto`, the nearest and the farthest two classes or
    clusters. Returns the smoothness for each pair.
    """
    if probe.source.classes:
        ends, all_names = probe.centroids, probe.source.classes
    else:
        ends, all_names = probe.clusters.medoids, probe.clusters.names
    if settings.walks == "auto":
        pairs = nearest_and_farthest(ends)
    else:
        pairs = [(all_names.index(start), all_names.index(end)) for start, end in settings.walks]
    keys, labels = class_keys(all_names), class_labels(all_names)
    metrics: dict[str, dict[str, float]] = {}
    for pair in dict.fromkeys(pairs):
        start, end = (torch.from_numpy(ends[index]) for index in pair)
        key = "_to_".join(keys[index] for index in pair)
        if key in metrics:  # that of another pair, with names such as a_to_b and c
            key += f" {pair[0]} {pair[1]}"
        names = [labels[index] for index in pair]
        metrics[key] = plot_interpolation(
            probe.space, start, end, names, settings.walk_steps, f"{target}_{key}"
        )
    return metrics


def plot_interpolation(
    space: LatentSpace, start: Tensor, end: Tensor, names: Sequence[str], steps: int, target: str
) -> dict[str, float]:
    """Decode a linear and a spherical interpolation between two codes [L].

    Writes `target`.png and an animation `target`.gif, and returns the smoothness of both. `names`
    are those of the codes in the title, for example `class_labels`.
    """
    rows = {
        "linear": space.images(linear_interpolation(start, end, steps)),
        "spherical": space.images(spherical_interpolation(start, end, steps)),
    }
    title = f"{space.name}: interpolation from {names[0]} to {names[1]}"
    plot_rows(Path(f"{target}.png"), rows, title)
    forward = [torch.stack(pair) for pair in zip(*rows.values(), strict=True)]
    save_animation(Path(f"{target}.gif"), forward + forward[-2:0:-1])
    return {f"{name}_smoothness": smoothness(images) for name, images in rows.items()}
