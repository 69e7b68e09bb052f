"""A latent space, and the images that it is evaluated with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet, stratified_sample
from latentlab.evaluation.latent.clusters import Clusters, find_clusters
from latentlab.evaluation.latent.density import CodeDensity, fit_density
from latentlab.evaluation.latent.interpolation import class_centroids
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.vae import Vae
from latentlab.params.schema import EvaluateParams

MAX_DENSITY_CODES = 1000
"""Codes that the density is estimated from; the bandwidth search takes quadratic time."""


@dataclass(frozen=True)
class LatentSpace:
    """An encoder of images [N, C, S, S] to codes [N, L], and a decoder.

    `name` is used in plot titles.
    """

    name: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    @classmethod
    def of_autoencoder(cls, name: str, model: Autoencoder) -> "LatentSpace":
        """Return the latent space of an autoencoder."""
        return cls(name, model.encode, model.decode)

    @classmethod
    def of_vae(cls, name: str, model: Vae) -> "LatentSpace":
        """Return the latent space of a VAE; the code of an image is its posterior mean."""
        return cls(name, model.latent_codes, model.decode)

    def codes(self, images: ImageSet) -> np.ndarray:
        """Return the codes [N, L] of all images."""
        return apply_in_batches(self.encode, in_batches(images)).numpy()

    @torch.inference_mode()
    def images(self, codes: np.ndarray | Tensor) -> Tensor:
        """Return the decoded images [N, C, S, S] of codes [N, L]."""
        return self.decode(torch.as_tensor(codes, dtype=torch.float32))


@dataclass(frozen=True)
class ProbeImages:
    """The images that a latent space is evaluated with.

    `images` are a sample of the `split_size` images of a split. Probes, centroids, clusters and
    densities are fitted to the images `train`, which come from another split. Images without labels
    have no `classes`.
    """

    train: ImageSet
    images: ImageSet
    classes: list[str]
    split: str
    split_size: int
    seed: int

    @classmethod
    def sample(
        cls, train: ImageSet, images: ImageSet, classes: list[str], split: str,
        settings: EvaluateParams, seed: int,
    ) -> "ProbeImages":  # fmt: skip
        """Draw stratified samples of both image sets, of the sizes in `settings`."""
        return cls(
            train.sample(settings.probe_images, seed),
            images.sample(settings.projected_images, seed),
            classes,
            split,
            len(images),
            seed,
        )


@dataclass(frozen=True)
class EncodedProbe:
    """Probe images encoded in a latent space; codes are computed once, when they are needed."""

    space: LatentSpace
    source: ProbeImages

    @cached_property
    def train_codes(self) -> np.ndarray:
        """Codes [M, L] of the training images."""
        return self.space.codes(self.source.train)

    @cached_property
    def train_labels(self) -> np.ndarray:
        """Class indices [M] of the training images."""
        return self.source.train.labels.numpy()

    @cached_property
    def codes(self) -> np.ndarray:
        """Codes [N, L] of the images to evaluate."""
        return self.space.codes(self.source.images)

    @cached_property
    def labels(self) -> np.ndarray:
        """Class indices [N] of the images to evaluate."""
        return self.source.images.labels.numpy()

    @cached_property
    def density_codes(self) -> np.ndarray:
        """Codes [M, L] of up to 1,000 training images, from which densities are estimated."""
        labels = torch.from_numpy(self.train_labels)
        indices = stratified_sample(labels, MAX_DENSITY_CODES, self.source.seed).numpy()
        codes: np.ndarray = self.train_codes[indices]
        return codes

    @cached_property
    def density(self) -> CodeDensity:
        """The density of the codes."""
        return fit_density(self.density_codes, self.source.seed)

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters of the codes of the training images."""
        return find_clusters(self.train_codes, self.source.seed)

    @property
    def centroids(self) -> np.ndarray:
        """The mean training code of each class [K, L]; NaN for a class without images."""
        return class_centroids(self.train_codes, self.train_labels, len(self.source.classes))
