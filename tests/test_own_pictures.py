"""A folder of one's own colour pictures through every stage, by the name of the folder alone.

The stages run in this process; that DVC runs them is shown by test_end_to_end.
"""

import json
import shutil

import mlflow
import numpy as np
import pytest

from small_budgets import SHAPES, SMALL, draw_shapes, edit_params

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STAGES = ["fetch", "search", "train", "denoise", "finetune", "reference", "vae", "gan", "evaluate"]


@pytest.fixture
def judged(checkout, latentlab, empty_store):
    """The test figures of a whole run over colour pictures of three classes."""
    shutil.copy(empty_store, checkout.home)
    draw_shapes(checkout.root / "data" / "shapes", of_each=30)
    changes = {
        "data": {"name": "shapes", "image_size": 32},
        "train": SMALL["train"] | {"folds": 2},
        "finetune": SMALL["finetune"] | {"epochs": 15, "batch_size": 16},
    }
    edit_params(checkout.params, SMALL | changes)
    for stage in STAGES:
        answer = latentlab(stage)
        assert answer.code == 0, (stage, answer.err)
    return json.loads((checkout.outputs("evaluate") / "metrics.json").read_text())["test"]


def test_they_go_through_every_stage(judged, checkout):
    info = json.loads((checkout.outputs("fetch") / "dataset.json").read_text())
    assert info["classes"] == sorted(SHAPES)
    assert info["image_shape"] == [3, 32, 32]
    assert sum(info["sizes"].values()) == 90
    assert judged["classifier"]["accuracy"] > 0.5
    assert list(judged["generators"]) == ["gan", "vae", "autoencoder_kde", "real"]

    client = mlflow.MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/shapes")
    runs = client.search_runs([experiment.experiment_id])
    named = {run.info.run_name: run for run in runs}
    nested = {"trial 0", "trial 1", "fold 1", "fold 2", "from scratch", *SMALL["denoise"]}
    classifiers = {name for name in named if "labels, " in name}
    assert set(named) == {*STAGES, *nested} | classifiers
    assert len(classifiers) == 2 * 3 * 2  # budgets, ways, seeds
    assert {run.info.status for run in runs} == {"FINISHED"}
    errors = [named[f"fold {number}"].data.metrics["validation/mse"] for number in (1, 2)]
    folds = json.loads((checkout.outputs("train") / "metrics.json").read_text())["folds"]["mse"]
    assert folds == pytest.approx({"mean": np.mean(errors), "std": np.std(errors, ddof=1), "n": 2})
    assert 0 < folds["mean"] < 0.2
