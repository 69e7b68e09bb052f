import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import torch

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.io import save_model
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.tracking.run import track

pytestmark = pytest.mark.filterwarnings(
    # MLflow's and torch's own, on the versions in the lock
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore:.*type hint is inferred as AnyType:UserWarning",
)

ARCHITECTURE = Architecture((1, 8, 8), [4, 8], 16, 2)
IMAGES = (1, 8, 8)
MODELS = [
    (Autoencoder(ARCHITECTURE), IMAGES),
    (Classifier(ARCHITECTURE, [5], 3, freeze_encoder=False), IMAGES),
    (Denoiser(Autoencoder(ARCHITECTURE), Corruption([CorruptionSpec("blur", 1.0, 1.0)])), IMAGES),
    (Vae(ARCHITECTURE, "gaussian"), IMAGES),
    (Generator(IMAGES, 6, 4), (6,)),
    (ReferenceClassifier(IMAGES, [4, 6], 5, 3), IMAGES),
]


@pytest.fixture
def module():
    """The module, imported within a test because MLflow warns on import."""
    return import_module("latentlab.tracking.served_model")


def predictions(model, shape):
    """Return seven inputs and the outputs of the network."""
    inputs = torch.rand(7, *shape)
    with torch.inference_mode():
        return inputs, model.eval()(inputs)


def test_every_model_family_can_be_served(module, repository):
    sources = (repository / "src" / "latentlab" / "models").glob("*.py")
    families = re.findall(r'^    family = "(\w+)"', "".join(map(Path.read_text, sources)), re.M)

    families.remove("unet")  # served as part of a denoiser
    assert sorted(module.FAMILIES) == sorted(families)
    assert sorted(families) == sorted(model.family for model, _ in MODELS)


@pytest.mark.parametrize(("model", "shape"), MODELS, ids=[model.family for model, _ in MODELS])
def test_a_served_network_gives_the_same_outputs(model, shape, tmp_path, module):
    inputs, outputs = predictions(model, shape)
    save_model(model, tmp_path)
    served = module.ServedModel()

    served.load_context(SimpleNamespace(artifacts={"model": str(tmp_path)}))

    np.testing.assert_allclose(served.predict(None, inputs.numpy()), outputs, atol=1e-6)


def test_a_logged_model_can_be_loaded_without_a_checkout_and_without_pickle(
    project, runs, tmp_path
):
    model, shape = MODELS[0]
    inputs, outputs = predictions(model, shape)
    save_model(model, tmp_path / "stored")
    with track(project, "train", "shapes", "fingerprint") as run:
        run.log_model(tmp_path / "stored", inputs[:2], outputs[:2])
    np.savez(tmp_path / "arrays.npz", inputs=inputs, outputs=outputs)
    code = f"""
import mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///{project.home / "mlflow.db"}")
model = mlflow.pyfunc.load_model("runs:/{runs["train"].info.run_id}/model")
arrays = np.load("arrays.npz")
for rows in (slice(0, 7), slice(0, 1)):
    outputs = model.predict(arrays["inputs"][rows])
    np.testing.assert_allclose(outputs, arrays["outputs"][rows], atol=1e-6)
schemas = (model.metadata.signature.inputs, model.metadata.signature.outputs)
assert [schema.inputs[0].shape for schema in schemas] == [(-1, 1, 8, 8)] * 2
import latentlab
print(latentlab.__file__)
"""
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "/model/code/latentlab/" in done.stdout  # the copy that was logged
    stored = [path for path in (project.root / "mlruns").rglob("*") if path.is_file()]
    assert len(stored) > 10
    assert ".pkl" not in {path.suffix for path in stored}
    assert mlflow.active_run() is None
