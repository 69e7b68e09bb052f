"""The content of the explorer, computed from the outputs of the pipeline."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from latentlab.common.project import Project
from latentlab.data.image_set import ImageSet, load_info, load_split
from latentlab.evaluation.latent.clusters import find_clusters
from latentlab.evaluation.latent.space import ProbeImages
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import DESCRIPTION, load_model
from latentlab.params.schema import Params
from latentlab.report.explorer.networks import export_network
from latentlab.report.explorer.spaces import export_spaces, is_trained

if TYPE_CHECKING:
    from latentlab.report.explorer.page import ExplorerContent

MAX_IMAGES = 2000
"""Test images on the map, at most."""
MAX_PIXELS = 1 << 22
"""Pixels of all test images on the map together, at most; it limits the size of the page."""
ATLAS_COLUMNS = 50
"""Test images per row of the picture that contains all of them."""


def load_content(project: Project, params: Params) -> ExplorerContent:
    """Load the models and test images of the pipeline's outputs, and encode the images.

    Models that were not trained, such as classifiers of unlabeled images, are left out. Without
    class labels, clusters of the autoencoder's codes take their place.
    """
    data_dir, seed = project.outputs("fetch"), params.runtime.seed
    info, test = load_info(data_dir), load_split(data_dir, "test")
    count = min(
        params.evaluate.projected_images, MAX_IMAGES, MAX_PIXELS // info.image_shape[1] ** 2
    )
    images = test.sample(count, seed)
    train = load_split(data_dir, "train").sample(params.evaluate.probe_images, seed)
    source = ProbeImages(train, images, info.classes, "test", len(test), seed)
    if not info.labeled:
        source = _clustered(project, source)
    networks: dict[str, Any] = {}
    return {
        "dataset": {"name": info.name, "classes": source.classes, "shape": info.image_shape},
        "images": _images(source.images, bool(source.classes)),
        "spaces": export_spaces(project, params, source, networks),
        "generator": _generator(project, networks),
        "denoisers": _denoisers(project, params, networks),
        "classifier": _classifier(project, images, networks, info.labeled),
        "networks": networks,
    }


def _clustered(project: Project, source: ProbeImages) -> ProbeImages:
    """Return unlabeled images with their clusters as classes."""
    if not is_trained(project, "train"):
        return source
    autoencoder = load_model(Autoencoder, project.outputs("train") / "model")
    train_codes, codes = (
        apply_in_batches(autoencoder.latent_codes, in_batches(images)).numpy()
        for images in (source.train, source.images)
    )
    clusters = find_clusters(train_codes, source.seed)
    labels = [torch.from_numpy(clusters.assign(each)) for each in (train_codes, codes)]
    return replace(
        source,
        train=replace(source.train, labels=labels[0].long()),
        images=replace(source.images, labels=labels[1].long()),
        classes=clusters.names,
    )


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


def _generator(project: Project, networks: dict[str, Any]) -> dict[str, Any] | None:
    """Return the sizes of the inputs of the GAN's generator, and add its network."""
    if not is_trained(project, "gan"):
        return None
    generator = load_model(Generator, project.outputs("gan") / "model")
    networks["generator"] = export_network(generator.layers)
    return {"noise_dim": generator.noise_dim, "classes": len(generator.class_shares)}


def _denoisers(project: Project, params: Params, networks: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the denoisers by name, and add their networks; some were trained on clipped pixels."""
    denoisers = []
    for name in params.denoise:
        folder = project.outputs("denoise") / "model" / name
        if not (folder / DESCRIPTION).is_file():
            continue
        denoiser = load_model(Denoiser, folder)
        network = denoiser.network
        modules: list[nn.Module] = [network]
        if isinstance(network, Autoencoder):
            modules = [network.encoder, network.to_code, network.decoder]
        networks[f"denoiser.{name}"] = export_network(*modules)
        clips = denoiser.corruption.config["clip"]
        denoisers.append({"name": name, "network": f"denoiser.{name}", "clips": clips})
    return denoisers


def _classifier(
    project: Project, images: ImageSet, networks: dict[str, Any], labeled: bool
) -> dict[str, Any] | None:
    """Return the classifier's predictions for the images, and add its network in two parts.

    The features are averaged over an image and its mirror image if the classifier is `mirrored`.
    """
    if not labeled or not is_trained(project, "finetune"):
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
