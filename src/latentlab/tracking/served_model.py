"""What MLflow loads and serves: a stored network as a function of arrays.

MLflow runs this file when a model is logged and when it is loaded, then with a copy of the package
beside it; nothing here imports it. torch is imported where it is used: the recorder needs none.
"""

from importlib import import_module
from pathlib import Path

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

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
    """A network in evaluation mode; see its own `forward` for what goes in and comes out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Rebuild the network from its safetensors and description."""
        from latentlab.models.io import load_model

        folder = Path(context.artifacts["model"])
        module, name = FAMILIES[read_json(folder / "model.json")["family"]]
        self.model = load_model(getattr(import_module(module), name), folder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict | None = None
    ) -> np.ndarray:
        """float32 inputs [N, ...] to float32 outputs [N, ...]."""
        import torch

        with torch.inference_mode():
            return self.model(torch.from_numpy(np.asarray(model_input, np.float32))).numpy()


mlflow.models.set_model(ServedModel())
