"""The content of the explorer, computed from the outputs of the pipeline."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from latentlab.common.files import read_json
from latentlab.common.project import Project
from latentlab.data.image_set import ImageSet, load_info, load_split, stratified_sample
from latentlab.evaluation.latent.density import Axes
from latentlab.evaluation.latent.projection import tsne
from latentlab.evaluation.latent.space import (
    MAX_DENSITY_CODES,
    EncodedProbe,
    LatentSpace,
    ProbeImages,
)
from latentlab.evaluation.reconstruction import squared_errors
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import DESCRIPTION, load_model
from latentlab.models.vae import Vae
from latentlab.params.schema import Params
from latentlab.report.explorer.networks import encode_floats, export_network

if TYPE_CHECKING:
    from latentlab.report.explorer.page import ExplorerContent

MAX_IMAGES = 2000
"""Test images on the map, at most."""
MAX_PIXELS = 1 << 22
"""Pixels of all test images on the map together, at most; it limits the size of the page."""
ATLAS_COLUMNS = 50
"""Test images per row of the picture that contains all of them."""
DISTANCE_QUANTILES = 100


def load_content(project: Project, params: Params) -> ExplorerContent:
    """Load the models and test images of the pipeline's outputs, and encode the images.

    Models that were not trained, such as classifiers of unlabeled images, are left out.
    """
    data_dir, seed = project.outputs("fetch"), params.runtime.seed
    info, test = load_info(data_dir), load_split(data_dir, "test")
    count = min(
        params.evaluate.projected_images, MAX_IMAGES, MAX_PIXELS // info.image_shape[1] ** 2
    )
    images = test.sample(count, seed)
    train = load_split(data_dir, "train").sample(params.evaluate.probe_images, seed)
    source = ProbeImages(train, images, info.classes, "test", len(test), seed)
    networks: dict[str, Any] = {}
    return {
        "dataset": {"name": info.name, "classes": info.classes, "shape": info.image_shape},
        "images": _images(images, bool(info.classes)),
        "spaces": _spaces(project, params, source, networks),
        "generator": _generator(project, networks),
        "denoisers": _denoisers(project, params, networks),
        "classifier": _classifier(project, images, networks, bool(info.classes)),
        "networks": networks,
    }


def _is_trained(project: Project, stage: str) -> bool:
    return (project.outputs(stage) / "model" / DESCRIPTION).is_file()


def _images(images: ImageSet, labeled: bool) -> dict[str, Any]:
    """Return all images as one picture, row by row, and their labels."""
    from PIL import Image

    count = len(images)
    pixels = (images.floats() * 255).round().to(torch.uint8).numpy()
    depth, size, _ = images.image_shape
    rows = -(-count // ATLAS_COLUMNS)
    tiles = np.zeros((rows * ATLAS_COLUMNS, size, size, depth), np.uint8)
    tiles[:count] = pixels.transpose(0, 2, 3, 1)
    grid = tiles.reshape(rows, ATLAS_COLUMNS, size, size, depth).swapaxes(1, 2)
    picture = grid.reshape(rows * size, ATLAS_COLUMNS * size, depth)
    stream = BytesIO()
    Image.fromarray(picture[..., 0] if depth == 1 else picture).save(
        stream, "webp", lossless=True, quality=100
    )
    address = "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
    return {
        "atlas": address,
        "columns": ATLAS_COLUMNS,
        "count": count,
        "labels": images.labels.tolist() if labeled else None,
    }


def _spaces(
    project: Project, params: Params, source: ProbeImages, networks: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the latent spaces of the autoencoder and the VAE, and add their networks."""
    spaces = []
    metrics = read_json(project.outputs("evaluate") / "metrics.json")["test"]
    if _is_trained(project, "train"):
        autoencoder = load_model(Autoencoder, project.outputs("train") / "model")
        networks["autoencoder.encoder"] = export_network(autoencoder.encoder, autoencoder.to_code)
        networks["autoencoder.decoder"] = export_network(autoencoder.decoder)
        probe = EncodedProbe(LatentSpace.of_autoencoder("Autoencoder", autoencoder), source)
        spaces.append(_space("autoencoder", autoencoder, probe, params, metrics))
    if _is_trained(project, "vae"):
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
    """Return the kernel density estimate that `evaluate` drew from, without a search of its own."""
    labels = torch.from_numpy(probe.train_labels)
    indices = stratified_sample(labels, MAX_DENSITY_CODES, probe.source.seed).numpy()
    centers = probe.train_codes[indices]
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

    neighbors = NearestNeighbors(n_neighbors=min(2, len(codes))).fit(codes)
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


def _generator(project: Project, networks: dict[str, Any]) -> dict[str, Any] | None:
    """Return the sizes of the inputs of the GAN's generator, and add its network."""
    if not _is_trained(project, "gan"):
        return None
    generator = load_model(Generator, project.outputs("gan") / "model")
    networks["generator"] = export_network(generator.layers)
    return {"noise_dim": generator.noise_dim, "classes": len(generator.class_shares)}


def _denoisers(project: Project, params: Params, networks: dict[str, Any]) -> list[dict[str, str]]:
    """Return the denoisers by name, and add their networks."""
    denoisers = []
    for name in params.denoise:
        folder = project.outputs("denoise") / "model" / name
        if not (folder / DESCRIPTION).is_file():
            continue
        network = load_model(Denoiser, folder).network
        modules: list[nn.Module] = [network]
        if isinstance(network, Autoencoder):
            modules = [network.encoder, network.to_code, network.decoder]
        networks[f"denoiser.{name}"] = export_network(*modules)
        denoisers.append({"name": name, "network": f"denoiser.{name}"})
    return denoisers


def _classifier(
    project: Project, images: ImageSet, networks: dict[str, Any], labeled: bool
) -> dict[str, Any] | None:
    """Return the classifier's predictions for the images, and add its network in two parts.

    The features are averaged over an image and its mirror image if the classifier is `mirrored`.
    """
    if not labeled or not _is_trained(project, "finetune"):
        return None
    classifier = load_model(Classifier, project.outputs("finetune") / "model")
    networks["classifier.features"] = export_network(classifier.encoder, classifier.head)
    networks["classifier.logits"] = export_network(classifier.to_logits)
    probabilities: Tensor = apply_in_batches(classifier, in_batches(images)).softmax(1)
    of_predicted, predicted = torch.max(probabilities, 1)
    return {
        "mirrored": classifier.mirrored,
        "predicted": predicted.tolist(),
        "probabilities": [round(value, 4) for value in of_predicted.tolist()],
    }
