"""Results per test image, with which the gate compares two models on the same images."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path

EXAMPLES = "examples.safetensors"


@dataclass(frozen=True)
class Examples:
    """Results per image by metric, such as `evaluate/test/autoencoder/mse`.

    `values` are arrays [N]: squared errors per pixel as float32, or whether a prediction is correct
    as bool (of several predictions for one image, their share as float32). `weights` maps the same
    metrics to the SHA-256 of the weights of the measured model. `images` is the digest of the
    images and their labels, in order.
    """

    values: dict[str, np.ndarray]
    weights: dict[str, str]
    images: str

    def write(self, path: Path) -> None:
        """Write a safetensors file; equal results give equal files."""
        from safetensors.numpy import save_file

        description = {"weights": self.weights, "images": self.images}
        # one entry: safetensors writes several in random order
        metadata = {"description": json.dumps(description, sort_keys=True)}
        with atomic_path(path) as temporary:
            save_file(self.values, temporary, metadata)


def read_examples(path: Path) -> Examples:
    """Read a file that `Examples.write` wrote.

    Raises EnvironmentProblem if it is damaged, and FileNotFoundError if it is missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            description = json.loads(file.metadata()["description"])
            values = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if values.keys() != description["weights"].keys():
            raise ValueError("its metrics are not those of its weights")
        if len({array.shape for array in values.values()}) > 1:
            raise ValueError("its metrics have different numbers of images")
        if not all(np.isfinite(array).all() for array in values.values()):
            raise ValueError("it contains a number that is not finite")
        return Examples(values, description["weights"], description["images"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f"{path}: not results per image ({error}); run `dvc repro evaluate`"
        ) from None


def digest_images(images: np.ndarray, labels: np.ndarray) -> str:
    """Return the SHA-256 of images and labels, in order."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
