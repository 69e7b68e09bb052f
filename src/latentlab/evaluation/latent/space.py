"""A latent space, and the images by which it is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet, stratified_sample
from latentlab.evaluation.latent.density import CodeDensity, fit_density
from latentlab.evaluation.latent.walks import class_centroids
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.vae import Vae
from latentlab.params.schema import EvaluateParams

DENSE_CODES = 1000
"""From which the density is estimated: to find a bandwidth costs the square of them."""


@dataclass(frozen=True)
class LatentSpace:
    """What turns images [N, C, S, S] into codes [N, L] and back; `called` so in titles."""

    called: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    @classmethod
    def of_autoencoder(cls, called: str, model: Autoencoder) -> "LatentSpace":
        """That of an autoencoder."""
        return cls(called, model.encode, model.decode)

    @classmethod
    def of_vae(cls, called: str, model: Vae) -> "LatentSpace":
        """That of a VAE, an image at the mean of its posterior."""
        return cls(called, model.means, model.decode)

    def __call__(self, images: Tensor) -> Tensor:
        """Images through their codes."""
        return self.decode(self.encode(images))

    def codes(self, images: ImageSet) -> np.ndarray:
        """The codes of all images."""
        return apply_in_batches(self.encode, in_batches(images)).numpy()

    @torch.inference_mode()
    def images(self, codes: np.ndarray | Tensor) -> Tensor:
        """The images of codes."""
        return self.decode(torch.as_tensor(codes, dtype=torch.float32))


@dataclass(frozen=True)
class ProbeImages:
    """Images by which a space is judged, `of` so many in their split; those it may learn from."""

    train: ImageSet
    images: ImageSet
    classes: list[str]
    split: str
    of: int
    seed: int

    @classmethod
    def sample(
        cls, train: ImageSet, images: ImageSet, classes: list[str], split: str,
        settings: EvaluateParams, seed: int,
    ) -> "ProbeImages":  # fmt: skip
        """A stratified sample of both, as large as the settings say."""
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
    """A latent space, seen by images; their codes are computed once."""

    space: LatentSpace
    seen: ProbeImages

    @cached_property
    def train_codes(self) -> np.ndarray:
        """Of the images it may learn from."""
        return self.space.codes(self.seen.train)

    @cached_property
    def train_labels(self) -> np.ndarray:
        """Of these."""
        return self.seen.train.labels.numpy()

    @cached_property
    def codes(self) -> np.ndarray:
        """Of the images by which it is judged."""
        return self.space.codes(self.seen.images)

    @cached_property
    def labels(self) -> np.ndarray:
        """Of these."""
        return self.seen.images.labels.numpy()

    @cached_property
    def density(self) -> CodeDensity:
        """Of the codes of some of the images it may learn from."""
        labels = torch.from_numpy(self.train_labels)
        some = stratified_sample(labels, DENSE_CODES, self.seen.seed).numpy()
        return fit_density(self.train_codes[some], self.seen.seed)

    @property
    def centroids(self) -> np.ndarray:
        """The mean code of each class [K, L]; NaN where there is no image of it."""
        return class_centroids(self.train_codes, self.train_labels, len(self.seen.classes))
