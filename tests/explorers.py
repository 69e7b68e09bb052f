"""Outputs of a pipeline with small random networks, and the explorer that shows them."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from latentlab.common.files import write_json
from latentlab.common.project import Project
from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import DatasetInfo, ImageSet, load_split, write_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.io import save_model
from latentlab.models.unet import UNet
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.report.explorer.content import load_content
from latentlab.report.explorer.page import write_explorer

NAMES = ["<script>alert(1)</script>", "\"double\" & 'single'", "قميص", "👟 shoe"]
"""Class names that a page could mistake for something else."""
IMAGES = 60


@dataclass(frozen=True)
class Explorer:
    """A page, and the models and test images that it shows."""

    page: Path
    models: SimpleNamespace
    test: ImageSet
    content: dict

    @property
    def address(self):
        return self.page.as_uri()


def build_explorer(
    root: Path,
    params: Path,
    classes: list[str],
    depth: int = 1,
    codes: int = 4,
    likelihood: str = "gaussian",
):
    """Save random networks for images [depth, 8, 8] as outputs, and write their explorer."""
    project = Project(root, root)
    data_dir, outputs, shape = project.outputs("fetch"), project.outputs, [depth, 8, 8]
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = random.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
        write_split(data_dir / split, images, np.arange(IMAGES) % max(len(classes), 1))
    statistics = [[0.5] * depth, [0.3] * depth]
    DatasetInfo('<b>"own"</b>', classes, shape, {}, *statistics, {}, "").write(data_dir)

    torch.manual_seed(0)
    architecture = Architecture(shape, [4, 8], 16, codes)
    noise, clipped_noise = (
        Corruption([CorruptionSpec("gaussian", 0.3, 0.3)], clip) for clip in (False, True)
    )
    models = SimpleNamespace(
        autoencoder=Autoencoder(architecture).eval(),
        vae=Vae(architecture, likelihood).eval(),
        generator=Generator(
            shape, 6, 4, [1 / len(classes)] * len(classes) if classes else []
        ).eval(),
        unet=Denoiser(UNet(shape, [4, 6], "silu"), clipped_noise).eval(),
    )
    save_model(models.autoencoder, outputs("train") / "model")
    save_model(models.vae, outputs("vae") / "model")
    save_model(models.generator, outputs("gan") / "model")
    denoiser = Denoiser(Autoencoder(architecture), noise)
    save_model(denoiser, outputs("denoise") / "model" / "gaussian")
    save_model(models.unet, outputs("denoise") / "model" / "unet")
    if classes:
        models.classifier = Classifier(architecture, [6], len(classes), False, mirrored=True).eval()
        save_model(models.classifier, outputs("finetune") / "model")

    bandwidth = {"latent": {"kde_bandwidth": 0.4}}
    metrics = {"test": {"autoencoder": bandwidth, "vae": bandwidth}}
    write_json(outputs("evaluate") / "metrics.json", metrics)

    content = load_content(project, load_params(params))
    page = root / "outputs" / "report" / "explorer.html"
    write_explorer(page, content)
    return Explorer(page, models, load_split(data_dir, "test"), content)
