"""Latent spaces for the explorer: codes of the test images, maps, densities and centroids."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentlab.common.files import read_json
from latentlab.common.project import Project
from latentlab.evaluation.latent.density import Axes
from latentlab.evaluation.latent.projection import tsne
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.evaluation.reconstruction import squared_errors
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.io import DESCRIPTION, load_model
from latentlab.models.vae import Vae
from latentlab.params.schema import Params
from latentlab.report.explorer.networks import encode_floats, export_network

DISTANCE_QUANTILES = 100


def is_trained(project: Project, stage: str) -> bool:
    """Return whether a stage has saved a model."""
    return (project.outputs(stage) / "model" / DESCRIPTION).is_file()


def export_spaces(
    project: Project, params: Params, source: ProbeImages, networks: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the latent spaces of the autoencoder and the VAE, and add their networks."""
    spaces = []
    metrics = read_json(project.outputs("evaluate") / "metrics.json")["test"]
    if is_trained(project, "train"):
        autoencoder = load_model(Autoencoder, project.outputs("train") / "model")
        networks["autoencoder.encoder"] = export_network(autoencoder.encoder, autoencoder.to_code)
        networks["autoencoder.decoder"] = export_network(autoencoder.decoder)
        probe = EncodedProbe(LatentSpace.of_autoencoder("Autoencoder", autoencoder), source)
        spaces.append(_space("autoencoder", autoencoder, probe, params, metrics))
    if is_trained(project, "vae"):
        vae = load_model(Vae, project.outputs("vae") / "model")
        networks["vae.encoder"] = export_network(vae.encoder, vae.to_mean)
        networks["vae.decoder"] = export_network(vae.decoder)
        probe = EncodedProbe(LatentSpace.of_vae("VAE", vae), source)
        content = _space("vae", vae, probe, params, metrics)
        spaces.append(content | {"has_prior": True, "binarizes": vae.likelihood == "bernoulli"})
    return spaces


def _space(
    name: str,
    model: Autoencoder | Vae,
    probe: EncodedProbe,
    params: Params,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Return the codes of the images, their maps and density, and centroids of classes.

    `metrics` are those of `evaluate`, which has searched for the bandwidth of the density.
    """
    codes = probe.codes
    bandwidth = metrics[name]["latent"]["kde_bandwidth"]
    return {
        "name": name,
        "title": probe.space.name,
        "encoder": f"{name}.encoder",
        "decoder": f"{name}.decoder",
        "dimensions": codes.shape[1],
        "codes": encode_floats(codes),
        "errors": encode_floats(squared_errors(model, probe.source.images)),
        "distances": _neighbor_distances(codes),
        "centroids": _centroids(probe),
        "maps": _maps(codes, params, probe.source.seed),
        "density": _density(probe, bandwidth),
        "has_prior": False,
        "binarizes": False,
    }


def _density(probe: EncodedProbe, bandwidth: float) -> dict[str, Any]:
    """Return a kernel density estimate with the bandwidth that `evaluate` has found."""
    centers = probe.density_codes
    axes = Axes.of(centers.astype(np.float64))
    return {
        "centers": encode_floats(centers),
        "spread": encode_floats(axes.directions * axes.scales),
        "bandwidth": bandwidth,
    }


def _centroids(probe: EncodedProbe) -> list[list[float] | None]:
    """Return the mean training code of each class; None for a class without images."""
    if not probe.source.classes:
        return []
    return [row.tolist() if np.isfinite(row).all() else None for row in probe.centroids]


def _neighbor_distances(codes: np.ndarray) -> list[float]:
    """Return quantiles of the distance from each code [N, L] to its nearest other code."""
    from sklearn.neighbors import NearestNeighbors

    neighbors = NearestNeighbors(n_neighbors=1).fit(codes)
    distances = neighbors.kneighbors()[0][:, 0] if len(codes) > 2 else np.zeros(1)
    shares = np.linspace(0, 1, DISTANCE_QUANTILES + 1)
    quantiles: list[float] = np.quantile(distances, shares).tolist()
    return quantiles


def _maps(codes: np.ndarray, params: Params, seed: int) -> dict[str, dict[str, Any]]:
    """Return two-dimensional maps of codes [N, L]; `inverse` says how a point becomes a code."""
    dimensions = codes.shape[1]
    maps: dict[str, dict[str, Any]] = {}
    if dimensions == 2:
        axes = ["latent dimension 1", "latent dimension 2"]
        maps["code"] = {"title": "Codes", "inverse": "identity", "axes": axes, "points": None}
    mean = codes.mean(0, dtype=np.float64)
    _, singular_values, components = np.linalg.svd(codes - mean, full_matrices=False)
    components = components[:2]
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    if len(components) == 2:
        shares = singular_values**2 / max(float((singular_values**2).sum()), 1e-12)
        maps["pca"] = {
            "title": "PCA",
            "inverse": "linear",
            "axes": [f"PC {n + 1} ({shares[n]:.0%} of variance)" for n in range(2)],
            "points": encode_floats((codes - mean) @ components.T),
            "mean": mean.tolist(),
            "components": components.tolist(),
        }
    if dimensions > 2 and len(codes) > 3:
        maps["tsne"] = {
            "title": "t-SNE",
            "inverse": "neighbors",
            "axes": ["t-SNE 1", "t-SNE 2"],
            "points": encode_floats(tsne(codes, 2, params.evaluate.tsne_perplexity, seed)),
        }
    if not maps:  # one-dimensional codes
        axes = ["latent dimension 1", ""]
        maps["code"] = {"title": "Codes", "inverse": "identity", "axes": axes, "points": None}
    return maps
