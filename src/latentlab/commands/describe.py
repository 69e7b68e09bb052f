"""`latentlab describe`: the networks configured in `params.yaml`, layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import LatentlabError, ParamsError
from latentlab.common.project import Project
from latentlab.params.geometry import Architecture
from latentlab.params.resolve import resolved_params
from latentlab.params.schema import Params

if TYPE_CHECKING:
    from torch import Tensor, nn

    from latentlab.data.image_set import DatasetInfo
    from latentlab.models.cost import Layer

SECTIONS = ("train", "finetune", "reference", "vae", "gan", "discriminator")


def describe(project: Project, params: Params, section: str) -> list[Layer]:
    """Return the layers of the network of a section.

    `section` is one of SECTIONS or the name of an entry of `denoise`; raises ParamsError otherwise.
    """
    from latentlab.models.cost import describe_layers

    allowed = (*SECTIONS, *params.denoise)
    if section not in allowed:
        raise ParamsError(f"'{section}' has no network. Allowed: {', '.join(allowed)}")
    info = _dataset(project, params)
    if section in ("train", "finetune"):
        params = resolved_params(project, params)
    return describe_layers(*_build(params, section, info))


def _build(params: Params, section: str, info: DatasetInfo) -> tuple[nn.Module, Tensor]:
    """Return the network of a section and an input for it."""
    import torch

    from latentlab.data.image_set import ROTATIONS
    from latentlab.models.autoencoder import Autoencoder
    from latentlab.models.classifier import Classifier
    from latentlab.models.denoiser import network_builder
    from latentlab.models.gan import Discriminator, Generator
    from latentlab.models.reference import ReferenceClassifier
    from latentlab.models.vae import Vae

    image = torch.zeros(1, *info.image_shape)
    gan, classes = params.gan, len(info.classes)
    conditions = classes if gan.conditional else 0
    if section == "finetune" and not info.labeled:
        raise ParamsError(f"finetune has no network, because {info.name} has no class labels")
    if section == "gan":
        network = Generator(
            info.image_shape, gan.noise_dim, gan.channels, [1 / max(classes, 1)] * conditions
        )
        return network, torch.zeros(1, network.inputs)
    if section == "discriminator":
        # spectral normalization adds no layers and no parameters
        normalization = "batch" if gan.normalization == "batch" else "none"
        width = gan.width_of_discriminator
        return Discriminator(info.image_shape, width, normalization, conditions), image
    if section == "reference":
        channels, features = params.reference.channels, params.reference.features
        outputs = classes or len(ROTATIONS)
        return ReferenceClassifier(info.image_shape, channels, features, outputs), image
    if section in params.denoise:
        return network_builder(params.denoise[section], info)(), image
    if section == "vae":
        architecture = Architecture.of(params.vae.model, info)
        return Vae(architecture, params.vae.likelihood, params.vae.scale), image
    architecture = Architecture.of(params.train.model, info)
    if section == "finetune":
        head = params.finetune.head
        return Classifier(architecture, head, classes, freeze_encoder=False), image
    return Autoencoder(architecture), image


def _dataset(project: Project, params: Params) -> DatasetInfo:
    """Return the dataset that `fetch` wrote.

    If it did not run yet, or for another dataset or size, return a placeholder of ten classes that
    is grayscale unless `data.channels` says otherwise.
    """
    from latentlab.data.image_set import DatasetInfo, load_info

    try:
        info = load_info(project.outputs("fetch"))
        if info.name == params.data.name and info.image_shape[1] == params.data.image_size:
            return info
    except LatentlabError:
        pass
    size = params.data.image_size
    depth = 1 if params.data.channels == "auto" else params.data.channels
    return DatasetInfo(
        name=params.data.name,
        classes=[str(number) for number in range(10)],
        image_shape=[depth, size, size],
        sizes={},
        mean=[0.5] * depth,
        std=[0.5] * depth,
        sha256={},
        digest="",
    )


def as_tree(layers: list[Layer]) -> dict[str, Any]:
    """Return all layers and the totals as plain values, for JSON output."""
    return {"layers": [asdict(layer) for layer in layers], "total": _total(layers)}


def print_layers(section: str, layers: list[Layer]) -> None:
    """Print the layers as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Network of {section}", box=None, show_footer=True)
    total = _total(layers)
    table.add_column("layer", footer="total")
    table.add_column("type")
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right", footer=f"{total['parameters']:,}")
    table.add_column("operations per image", justify="right", footer=f"{total['operations']:,}")
    for layer in layers:
        table.add_row(
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.output_shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.operations:,}" if layer.operations else "",
        )
    Console().print(table)


def _total(layers: list[Layer]) -> dict[str, int]:
    return {
        "parameters": sum(layer.parameters for layer in layers),
        "operations": sum(layer.operations for layer in layers),
    }
