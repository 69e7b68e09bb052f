"""Logged models: their interfaces, files and code."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowException

from latentlab.common.project import Project
from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import DatasetInfo
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.io import save_model
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.unet import UNet
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
SHAPE = (1, 8, 8)
BLUR = Corruption([CorruptionSpec("blur", 1.0, 1.0)], clip=True)
NOISE = Corruption([CorruptionSpec("gaussian", 0.1, 0.5)])
INFO = DatasetInfo(
    "shapes", ["round", "square", "odd"], list(SHAPE), {}, [0.5], [0.1], {"f": "0"}, "d" * 64
)
MODELS = {
    "autoencoder": Autoencoder(ARCHITECTURE),
    "classifier": Classifier(ARCHITECTURE, [5], 3, freeze_encoder=False),
    "denoiser-blur": Denoiser(Autoencoder(ARCHITECTURE), BLUR),
    "denoiser-noise": Denoiser(UNet(SHAPE, [4, 8], "silu"), NOISE),
    "vae": Vae(ARCHITECTURE, "bernoulli"),
    "generator": Generator(SHAPE, 6, 4, [0.5, 0.25, 0.25]),
    "reference": ReferenceClassifier(SHAPE, [4, 6], 5, 3),
}
IMAGES = torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(0))


def log(run, folder, names):
    """Save and log models as stages do."""
    for name in names:
        family, _, entry = name.partition("-")
        model = MODELS[name].eval()
        assert model.family == family
        save_model(model, folder / name)
        with torch.inference_mode():
            codes = torch.zeros(2, 6) if family == "generator" else model.latent_codes(IMAGES[:2])
        run.log_model(folder / name, INFO, IMAGES[:2], codes, 3, entry)


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    """A client of a store with one model of each kind."""
    root = tmp_path_factory.mktemp("served")
    shutil.copy(empty_store, root)
    project = Project(root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with track(project, "train", "shapes", "fingerprint") as run:
            run.log_dataset(INFO)
            log(run, root / "saved", MODELS)
        uri = f"sqlite:///{root / 'mlflow.db'}"
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient(uri)
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def logged(store):
    """The logged models by name."""
    experiment = store.get_experiment_by_name("latentlab/shapes").experiment_id
    return {model.name: model for model in store.search_logged_models([experiment])}


@pytest.fixture(scope="module")
def load(logged):
    """Return a function that loads a model by name, once."""
    loaded = {}

    def load_once(name):
        if name not in loaded:
            loaded[name] = mlflow.pyfunc.load_model(f"models:/{logged[name].model_id}")
        return loaded[name]

    return load_once


def files_of(model):
    folder = Path(model.artifact_location.removeprefix("file://"))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_model_family_can_be_served(repository):
    sources = (repository / "src" / "latentlab" / "models").glob("*.py")
    families = re.findall(r'^    family = "(\w+)"', "".join(map(Path.read_text, sources)), re.M)

    families.remove("unet")  # served as part of a denoiser
    served_model = import_module("latentlab.tracking.served_model")
    assert sorted(served_model.FAMILIES) == sorted(families)
    assert {name.partition("-")[0] for name in MODELS} == set(families)


def test_models_are_named_by_family_and_have_metadata_and_an_example(logged, load):
    assert set(logged) == {*MODELS, "autoencoder-decoder", "vae-decoder"}
    for name, model in logged.items():
        metadata = load(name).metadata.metadata
        assert metadata["family"] == name.partition("-")[0]
        assert metadata["classes"] == INFO.classes
        assert metadata["image_shape"] == list(SHAPE)
        assert metadata["data_hash"] == INFO.digest
        assert (metadata["stage"], metadata["dataset"]) == ("train", "shapes")
        assert json.loads(model.tags["latent_dim"]) == metadata["latent_dim"]
        load(name).predict(load(name).input_example)
    dimensions = {name: load(name).metadata.metadata["latent_dim"] for name in logged}
    assert dimensions["vae-decoder"] == dimensions["denoiser-blur"] == 2
    assert (dimensions["denoiser-noise"], dimensions["generator"]) == (8, 6)


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_autoencoders_return_reconstructions_and_codes_bit_exactly(load, name):
    model = MODELS[name]

    outputs = load(name).predict(IMAGES.numpy())

    with torch.inference_mode():
        codes = model.latent_codes(IMAGES).numpy()
        images = model(IMAGES).numpy()
    np.testing.assert_array_equal(outputs["codes"], codes)
    np.testing.assert_array_equal(outputs["reconstructions"], images)
    np.testing.assert_array_equal(load(f"{name}-decoder").predict(codes), images)


@pytest.mark.parametrize("name", ["denoiser-blur", "denoiser-noise"])
def test_denoisers_restore_images_without_corrupting_them_first(load, name):
    outputs = load(name).predict(IMAGES.numpy())

    with torch.inference_mode():
        np.testing.assert_array_equal(outputs["reconstructions"], MODELS[name](IMAGES))
        np.testing.assert_array_equal(outputs["codes"], MODELS[name].network.latent_codes(IMAGES))


@pytest.mark.parametrize("name", ["classifier", "reference"])
def test_classifiers_return_class_names_and_probabilities(load, name):
    outputs = load(name).predict(IMAGES.numpy())

    with torch.inference_mode():
        probabilities = MODELS[name](IMAGES).softmax(1)
    assert list(outputs) == ["class", "p(round)", "p(square)", "p(odd)"]
    np.testing.assert_array_equal(outputs.iloc[:, 1:], probabilities)
    assert list(outputs["class"]) == [INFO.classes[i] for i in probabilities.argmax(1)]


def test_a_generator_returns_an_image_for_a_seed_and_a_class(load):
    model = load("generator")
    rows = pd.DataFrame({"seed": [1, 1, 2, 1], "class": ["odd", "round", "odd", None]})

    images = model.predict(rows)

    assert images.shape == (4, *SHAPE)
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.abs(images[0] - images[1]).max() > 0
    assert np.abs(images[0] - images[2]).max() > 0
    np.testing.assert_allclose(model.predict(rows[:1])[0], images[0], atol=1e-6)
    random, odd = torch.Generator().manual_seed(1), torch.tensor([2])
    inputs, _ = MODELS["generator"].draw(1, random, odd)
    with torch.inference_mode():
        np.testing.assert_array_equal(
            model.predict(rows[:1]), (MODELS["generator"](inputs) + 1) / 2
        )
    assert model.predict(rows[["seed"]]).shape == images.shape


PIXELS = IMAGES[:1].numpy()
INVALID = {
    "not finite": ("classifier", np.where(PIXELS.max() == PIXELS, np.float32(np.nan), PIXELS)),
    "bytes": ("autoencoder", PIXELS * np.float32(255)),
    "wrong shape": ("vae", PIXELS[:, :, :7]),
    "empty": ("reference", PIXELS[:0]),
    "infinite code": ("vae-decoder", np.array([[0, np.inf]], np.float32)),
    "unknown class": ("generator", pd.DataFrame({"seed": [1], "class": ["blue"]})),
    "negative seed": ("generator", pd.DataFrame({"seed": [-1]})),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_inputs_are_rejected(load, message, case):
    name, values = INVALID[case]

    with pytest.raises(MlflowException) as error:
        load(name).predict(values)

    assert error.value.get_http_status_code() == 400
    message(f"tracking/input: {case}", error.value.message.partition("Error: ")[2] or error.value)


def test_pixels_out_of_range_are_accepted_where_noise_causes_them(load):
    load("denoiser-noise").predict(PIXELS + np.float32(0.3))

    with pytest.raises(MlflowException, match="Pixels are from"):
        load("denoiser-blur").predict(PIXELS + np.float32(0.3))


def test_a_logged_model_consists_of_about_ten_files_without_pickle(logged):
    for model in logged.values():
        files = files_of(model)
        assert len(files) <= 12, sorted(files)
        assert {"MLmodel", "input_example.json", "artifacts/latentlab.zip"} <= files
        assert not any(file.endswith((".pkl", ".pt")) for file in files)


def test_the_archive_contains_no_module_that_is_not_needed_and_always_the_same_bytes(logged):
    archives = [
        Path(model.artifact_location.removeprefix("file://")) / "artifacts" / "latentlab.zip"
        for model in logged.values()
    ]
    packages = {name.split("/")[1] for name in ZipFile(archives[0]).namelist()}

    assert packages == {"__init__.py", "common", "data", "models", "params"}
    assert len({archive.read_bytes() for archive in archives}) == 1


def test_a_model_loads_without_a_checkout_and_next_to_another_version(logged, store, tmp_path):
    """The other version cannot load anything, and is still the imported one afterwards."""
    with torch.inference_mode():
        outputs = MODELS["autoencoder"](IMAGES)
    np.savez(tmp_path / "arrays.npz", inputs=IMAGES, outputs=outputs)
    package = tmp_path / "other" / "latentlab"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = 'other'\n")
    (package / "models" / "__init__.py").write_text("")
    (package / "models" / "io.py").write_text("raise ImportError('the other version')\n")
    code = f"""
import sys
import latentlab, latentlab.models
import mlflow, numpy as np, torch
torch.set_num_threads(1)  # as in the tests
mlflow.set_tracking_uri("{store.tracking_uri}")
model = mlflow.pyfunc.load_model("models:/{logged["autoencoder"].model_id}")
arrays = np.load("arrays.npz")
outputs = model.predict(arrays["inputs"])["reconstructions"]
np.testing.assert_array_equal(outputs, arrays["outputs"])
import latentlab
assert latentlab.__version__ == "other"
assert not any(path.endswith(".zip") and "latentlab" in path for path in sys.path)
print(model.unwrap_python_model().network.__class__.__module__)
"""
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONPATH": str(package.parent),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "latentlab.models.autoencoder\n"
