"""Pictures of what a network does with the same validation images, during and after its training.

MLflow shows those of all epochs in a grid with a slider, side by side for several runs. The outputs
of a stage contain them too.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentlab.common.files import atomic_path
from latentlab.data.image_set import DatasetInfo, ImageSet, stratified_sample
from latentlab.evaluation.latent.clusters import find_clusters
from latentlab.evaluation.latent.density import fit_density
from latentlab.evaluation.latent.projection import latent_plane
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classification import ImageClassifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import TrainableModel
from latentlab.models.vae import Vae
from latentlab.pipeline.context import StageContext
from latentlab.plots.maps import plot_latent_map
from latentlab.plots.pixels import draw_map, draw_mistakes, draw_pairs

MAX_EPOCHS = 8
"""Epochs of a training that are pictured, besides the first one."""
MAX_IMAGES = 32
"""Images in a grid."""
POINTS = 500
"""Codes in a map during training."""
MAP_POINTS = 2000
"""Codes in the map after training."""

Draw = Callable[[Any], dict[str, np.ndarray]]
"""Makes pictures [H, W, 3] of uint8 of a network in evaluation mode, by name."""


class PictureFile(NamedTuple):
    """A picture that `Snapshots` wrote."""

    name: str
    epoch: int
    path: Path


@dataclass(frozen=True)
class Snapshots:
    """Writes the pictures that `draw` makes of a network, every few of `epochs`, to a folder."""

    draw: Draw
    epochs: int
    folder: Path

    @torch.inference_mode()
    def take(self, network: Any, epoch: int) -> list[PictureFile]:
        """Write the pictures of a network in evaluation mode, if they are due after an epoch."""
        if epoch > 1 and epoch % -(-self.epochs // MAX_EPOCHS):
            return []
        return [self._write(name, epoch, pixels) for name, pixels in self.draw(network).items()]

    def _write(self, name: str, epoch: int, pixels: np.ndarray) -> PictureFile:
        from PIL import Image

        path = self.folder / f"{epoch:06}-{name}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")
        return PictureFile(name, epoch, path)


def picture_files(folder: Path) -> Iterator[PictureFile]:
    """Yield the pictures that `Snapshots` wrote to a folder, in the order of the epochs."""
    for path in sorted(folder.glob("*.png")):
        epoch, _, name = path.stem.partition("-")
        yield PictureFile(name, int(epoch), path)


def keep_pictures(source: Path, target: Path) -> None:
    """Copy the pictures in a folder to `<target>/<name>/<epoch>.png`.

    DVC's extension for VS Code shows a folder of numbered images with a slider.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, epoch, path in picture_files(source):
        (target / name).mkdir(exist_ok=True)
        shutil.copyfile(path, target / name / f"{epoch}.png")


@dataclass(frozen=True)
class Probe:
    """The validation images [N, C, S, S] with labels [N] that all pictures of a training show."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, validation: ImageSet, seed: int) -> "Probe":
        """Draw the images, each class in proportion, also among those in a grid."""
        sample = validation.sample(POINTS, seed)
        shown = stratified_sample(sample.labels, MAX_IMAGES, seed)
        others = torch.ones(len(sample), dtype=torch.bool).index_fill(0, shown, False)
        sample = sample.take(torch.cat([shown, others.nonzero()[:, 0]]))
        return cls(sample.floats(), sample.labels)

    @property
    def shown(self) -> Tensor:
        """The images in a grid."""
        return self.images[:MAX_IMAGES]

    def reconstructions(self, network: Autoencoder | Vae) -> dict[str, np.ndarray]:
        """Draw images above their reconstructions, and a map of the latent codes."""
        shown = self.shown.to(_device(network))
        return {"reconstructions": draw_pairs(shown, network(shown))} | self._map(network)

    def restorations(self, network: Denoiser) -> dict[str, np.ndarray]:
        """Draw corrupted images above restored ones, and a map of the latent codes."""
        shown = network.corrupt(self.shown.to(_device(network)))
        return {"restored": draw_pairs(shown, network(shown))} | self._map(network)

    def predictions(self, network: ImageClassifier) -> dict[str, np.ndarray]:
        """Draw images with frames around misclassified ones, and a map of the latent codes."""
        shown = self.shown
        predicted = network(shown.to(_device(network))).argmax(1).cpu()
        correct = (predicted == self.labels[: len(shown)]).tolist()
        return {"predictions": draw_mistakes(shown, correct)} | self._map(network)

    def _map(self, network: TrainableModel) -> dict[str, np.ndarray]:
        points, _ = latent_plane(network.latent_codes(self.images.to(_device(network))))
        return {"latent_map": draw_map(points, self.labels.numpy())}


@torch.inference_mode()
def write_latent_map(
    stage: StageContext,
    network: TrainableModel,
    validation: ImageSet,
    info: DatasetInfo,
    title: str,
    file: str = "latent_map.png",
    prior: bool = False,
) -> None:
    """Draw the latent codes of validation images after the training, in the colors of the classes.

    Without classes they are drawn twice, in the colors of clusters and of the density. `prior` adds
    the standard deviations of a standard normal prior, if there are two dimensions.
    """
    sample = validation.sample(MAP_POINTS, stage.seed)
    codes = apply_in_batches(network.latent_codes, in_batches(sample))
    points, axis_names = latent_plane(codes)
    labels, names, log_density = sample.labels.numpy(), info.classes, None
    if not info.labeled:
        clusters = find_clusters(codes.numpy(), stage.seed)
        labels, names = clusters.assign(codes.numpy()), clusters.names
        log_density = fit_density(codes.numpy(), stage.seed).log_density(codes.numpy())
    plot_latent_map(
        stage.plots / file,
        points,
        labels,
        names,
        axis_names,
        f"{title}: latent codes\nof {len(sample):,} of {len(validation):,} validation images",
        prior=prior and codes.shape[1] == 2,
        log_density=log_density,
    )


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
