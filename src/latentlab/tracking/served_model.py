"""A pyfunc model that loads a saved network and applies it to NumPy arrays.

MLflow executes this file when a model is logged, and again when it is loaded, together with the
copy of the package that was logged; no module of the package imports it. It imports torch inside
functions, because the recorder does not need torch.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from latentlab.common.files import read_json

FAMILIES = {
    "autoencoder": ("latentlab.models.autoencoder", "Autoencoder"),
    "classifier": ("latentlab.models.classifier", "Classifier"),
    "denoiser": ("latentlab.models.denoiser", "Denoiser"),
    "generator": ("latentlab.models.gan", "Generator"),
    "reference": ("latentlab.models.reference", "ReferenceClassifier"),
    "vae": ("latentlab.models.vae", "Vae"),
}


class ServedModel(PythonModel):
    """A network in evaluation mode; inputs and outputs are those of its `forward`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network from the logged artifacts."""
        from latentlab.models.io import load_model

        folder = Path(context.artifacts["model"])
        module, name = FAMILIES[read_json(folder / "model.json")["family"]]
        self.model = load_model(getattr(import_module(module), name), folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Return the float32 outputs [N, ...] of float32 inputs [N, ...]."""
        import torch
        from torch import Tensor

        with torch.inference_mode():
            outputs: Tensor = self.model(torch.from_numpy(np.asarray(model_input, np.float32)))
        return outputs.numpy()


mlflow.models.set_model(ServedModel())
