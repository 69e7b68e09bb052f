"""A pyfunc model that loads a saved network and applies it to NumPy arrays or a DataFrame.

MLflow executes this file when a model is logged, and again when it is loaded; no module of the
package imports it, except to log a model. The network is loaded with the modules in the archive
that is part of the model, also if another version of the package is installed or imported. torch
is imported inside functions, because the recorder does not need it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped] # MLflow requires it
from mlflow import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = {
    "autoencoder": ("latentlab.models.autoencoder", "Autoencoder", "reconstruct"),
    "classifier": ("latentlab.models.classifier", "Classifier", "classify"),
    "denoiser": ("latentlab.models.denoiser", "Denoiser", "reconstruct"),
    "generator": ("latentlab.models.gan", "Generator", "generate"),
    "reference": ("latentlab.models.reference", "ReferenceClassifier", "classify"),
    "vae": ("latentlab.models.vae", "Vae", "reconstruct"),
}
"""Module and class of each family, and the method of `ServedModel` that applies it."""

MAX_SEED = 2**63 - 1

_importing = Lock()


class ServedModel(PythonModel):
    """A network in evaluation mode.

    The configuration of the logged model has the keys `family`, `interface` (the method that is
    applied: reconstruct, decode, classify or generate), `classes` (their names in the order of the
    labels) and `pixel_range` (the smallest and largest pixel that is accepted, or None).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network from the logged artifacts."""
        self.config: dict[str, Any] = context.model_config
        module, name, _ = FAMILIES[self.config["family"]]
        with archived_package(context.artifacts["package"]):
            load_model = import_module("latentlab.models.io").load_model
            model_class = getattr(import_module(module), name)
            self.network: Any = load_model(model_class, Path(context.artifacts["network"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # or a DataFrame; MLflow warns of other type hints
        params: dict[str, Any] | None = None,
    ) -> np.ndarray | dict[str, np.ndarray] | pd.DataFrame:
        """Apply the interface of the model to a batch; MLflow has checked shapes and types.

        Raises MlflowException, which a server answers with status 400, if the values are invalid.
        """
        import torch

        if not len(model_input):
            raise MlflowException.invalid_parameter_value(
                "The input is empty. Send at least one image or code."
            )
        apply = getattr(self, self.config["interface"])
        with torch.inference_mode():
            outputs: np.ndarray | dict[str, np.ndarray] | pd.DataFrame = apply(model_input)
        return outputs

    def reconstruct(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return `reconstructions` [N, C, S, S] and latent `codes` [N, L] of images."""
        inputs = self._pixels(images)
        if self.config["family"] == "denoiser":  # its own codes are those of corrupted images
            network = self.network.network
            return _arrays(reconstructions=network(inputs), codes=network.latent_codes(inputs))
        codes = self.network.latent_codes(inputs)
        return _arrays(reconstructions=self.network.decode(codes), codes=codes)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return images [N, C, S, S] for latent codes [N, L]."""
        images: Tensor = self.network.decode(_tensor(codes, "latent code"))
        return images.numpy()

    def classify(self, images: np.ndarray) -> pd.DataFrame:
        """Return the most probable class of each image, and the probability of every class."""
        probabilities = self.network(self._pixels(images)).softmax(1).numpy()
        classes = self.config["classes"]
        columns = {f"p({name})": probabilities[:, index] for index, name in enumerate(classes)}
        return pd.DataFrame({"class": [classes[i] for i in probabilities.argmax(1)]} | columns)

    def generate(self, rows: pd.DataFrame) -> np.ndarray:
        """Return an image [C, S, S] in [0, 1] for each `seed` and name of a `class`.

        Without a class, or with an empty one, a class is drawn. The generator of an unconditional
        GAN has no classes.
        """
        import torch

        names = rows["class"] if "class" in rows else [None] * len(rows)
        labels = [self._label(name) for name in names]
        inputs = []
        for seed, label in zip(rows["seed"], labels, strict=True):
            if not 0 <= seed <= MAX_SEED:
                raise MlflowException.invalid_parameter_value(
                    f"seed = {seed} is out of range. Allowed: 0 to {MAX_SEED}."
                )
            random = torch.Generator().manual_seed(int(seed))
            noise, _ = self.network.draw(1, random, label)
            inputs.append(noise)
        images: Tensor = (self.network(torch.cat(inputs)) + 1) / 2
        return images.numpy()

    def _label(self, name: Any) -> Tensor | None:
        import torch

        if not isinstance(name, str) or not name:  # MLflow passes None or NaN for a missing value
            return None
        classes = self.config["classes"] if self.network.class_shares else []
        if name not in classes:
            allowed = ", ".join(classes) or "none, because the generator is unconditional"
            raise MlflowException.invalid_parameter_value(
                f"class = '{name}' does not exist. Allowed: {allowed}."
            )
        return torch.tensor([classes.index(name)])

    def _pixels(self, images: np.ndarray) -> Tensor:
        """Convert images; raise MlflowException if a pixel is out of range or not finite."""
        import torch

        # the memory format of the pipeline, for bit-identical results
        inputs = _tensor(images, "pixel").contiguous(memory_format=torch.channels_last)
        if self.config["pixel_range"] is not None:
            lowest, highest = self.config["pixel_range"]
            found = inputs.min().item(), inputs.max().item()
            if found[0] < lowest or found[1] > highest:
                raise MlflowException.invalid_parameter_value(
                    f"Pixels are from {found[0]:g} to {found[1]:g}. Allowed: {lowest:g} to "
                    f"{highest:g}. Divide bytes by 255."
                )
        return inputs


def _tensor(values: np.ndarray, name: str) -> Tensor:
    """Convert an array to a float32 tensor; raise MlflowException if a value is not finite."""
    import torch

    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise MlflowException.invalid_parameter_value(
            f"A {name} is NaN or infinite, first at index {where}. Allowed: finite numbers."
        )
    return torch.tensor(array)  # a copy, because MLflow may pass a read-only array


def _arrays(**tensors: Tensor) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@contextmanager
def archived_package(archive: str) -> Iterator[None]:
    """Let `latentlab` be imported from a ZIP file, and then restore what was imported before."""
    with _importing:
        before = _loaded_modules()
        for name in before:
            del sys.modules[name]
        sys.path.insert(0, archive)
        try:
            yield
        finally:
            sys.path.remove(archive)
            for name in _loaded_modules():
                del sys.modules[name]
            sys.modules.update(before)


def _loaded_modules() -> dict[str, Any]:
    return {
        name: module
        for name, module in sys.modules.items()
        if name == "latentlab" or name.startswith("latentlab.")
    }


mlflow.models.set_model(ServedModel())
