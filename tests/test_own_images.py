"""All stages run on a folder of RGB images after setting only the name of the folder.

The stages run in this process; `test_end_to_end` runs them with DVC.
"""

import json
import shutil

import mlflow
import numpy as np
import pytest

from crafting import name_of
from latentlab.evaluation.class_keys import class_keys
from small_budgets import SHAPES, SMALL, draw_shapes, edit_params

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STAGES = ["fetch", "search", "train", "denoise", "finetune", "reference", "vae", "gan", "evaluate"]
FEW = SMALL["finetune"]["label_efficiency"] | {"labels_per_class": [4], "seeds": 1}
CLASSES = ["A+", "A-", "$10_$20, 猫\n" + "x" * 130]


@pytest.fixture
def metrics(checkout, latentlab, empty_store):
    """The test metrics after running all stages on RGB images of three classes."""
    shutil.copy(empty_store, checkout.home)
    folder = checkout.root / "data" / "shapes"
    draw_shapes(folder, of_each=30)
    for shape, name in zip(SHAPES, CLASSES, strict=True):
        (folder / shape).rename(folder / name)
    changes = {
        "data": {"name": "shapes", "image_size": 16},
        "train": SMALL["train"] | {"folds": 2},
        "finetune": SMALL["finetune"] | {"epochs": 15, "batch_size": 16, "label_efficiency": FEW},
    }
    edit_params(checkout.params, SMALL | changes)
    for stage in STAGES:
        answer = latentlab(stage)
        assert answer.code == 0, (stage, answer.err)
    return json.loads((checkout.outputs("evaluate") / "metrics.json").read_text())["test"]


def test_every_stage_runs_on_a_folder_of_images(metrics, checkout):
    info = json.loads((checkout.outputs("fetch") / "dataset.json").read_text())
    assert info["classes"] == sorted(CLASSES)
    assert info["image_shape"] == [3, 16, 16]
    assert sum(info["sizes"].values()) == 90
    assert metrics["classifier"]["accuracy"] > 0.5
    keys = class_keys(info["classes"])
    for values in (metrics["classifier"]["recall"], metrics["generators"]["vae"]["class_shares"]):
        assert list(values) == keys
    for walk in metrics["vae"]["latent"]["walks"]:
        assert set(walk.split("_to_")) < set(keys)
        assert (checkout.outputs("evaluate") / "plots" / f"vae_walk_{walk}.gif").exists()
    assert list(metrics["generators"]) == [
        *("gan", "vae", "autoencoder_kde", "real"),
        "pixel_gaussian",
    ]

    client = mlflow.MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/shapes")
    runs = client.search_runs([experiment.experiment_id])
    named = {name_of(run): run for run in runs}
    nested = {"trial 0", "trial 1", "fold 1", "fold 2", "from scratch", *SMALL["denoise"]}
    classifiers = {name for name in named if "labels, " in name}
    assert set(named) == {*STAGES, *nested} | classifiers
    assert len(classifiers) == 3  # methods
    assert {run.info.status for run in runs} == {"FINISHED"}
    errors = [named[f"fold {number}"].data.metrics["validation/mse"] for number in (1, 2)]
    folds = json.loads((checkout.outputs("train") / "metrics.json").read_text())["folds"]["mse"]
    expected = {"mean": np.mean(errors), "std": np.std(errors, ddof=1), "n": 2}
    assert folds == pytest.approx(expected, rel=1e-4)  # the table has fewer digits
    assert 0 < folds["mean"] < 0.2
