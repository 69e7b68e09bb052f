"""All stages run on images without class labels, and the gate judges the results.

The stages run in this process, as in `test_own_images`.
"""

import csv
import json
import shutil

import mlflow
import pytest

from crafting import name_of
from gated import LOCK
from latentlab.common.files import write_json
from small_budgets import SHAPES, SMALL, draw_shapes, edit_params

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STAGES = ["fetch", "search", "train", "denoise", "finetune", "reference", "vae", "gan", "evaluate"]


@pytest.fixture
def answers(checkout, latentlab, empty_store):
    """What all stages print for a folder of RGB images without folders in it."""
    shutil.copy(empty_store, checkout.home)
    folder = checkout.root / "data" / "shapes"
    draw_shapes(folder, of_each=30)
    for path in list(folder.glob("*/*")):
        path.rename(folder / f"{path.parent.name} {path.name}")
    for shape in SHAPES:
        (folder / shape).rmdir()
    changes = {
        "data": {"name": "shapes", "image_size": 64},
        "train": SMALL["train"] | {"folds": 2},
        "reference": SMALL["reference"] | {"epochs": 6},
        "gan": SMALL["gan"] | {"conditional": True},
    }
    edit_params(checkout.params, SMALL | changes)
    answers = {}
    for stage in [*STAGES[:4], "compare latent_dim", *STAGES[4:]]:
        answers[stage] = latentlab(*stage.split())
        assert answers[stage].code == 0, (stage, answers[stage].err)
    return answers


def read(checkout, stage):
    return json.loads((checkout.outputs(stage) / "metrics.json").read_text())


def test_every_stage_runs_and_the_gate_judges_without_labels(answers, checkout, latentlab):
    # the classifier is left out, and everything that DVC expects exists
    assert "finetune: skipped, because shapes has no class labels" in answers["finetune"].err
    assert read(checkout, "finetune") == {"labeled": False}
    folder = checkout.outputs("finetune")
    names = {
        "model",
        "plots",
        "epochs",
        "settings.yaml",
        "trials.csv",
        "history.csv",
        "label_efficiency.csv",
    }
    assert {path.name for path in folder.iterdir()} == names | {"metrics.json", "diagnosis.json"}
    assert [path.name for path in (folder / "model").iterdir()] == ["not_trained.json"]
    for table, columns in {
        "finetune/history.csv": ["epoch", "train/accuracy", "validation/accuracy"],
        "finetune/label_efficiency.csv": ["labels_per_class", "frozen", "fine_tuned", "scratch"],
        "evaluate/confusion.csv": ["actual", "predicted"],
    }.items():
        with (checkout.root / "outputs" / table).open() as file:
            assert list(csv.reader(file)) == [columns]

    # generators are evaluated in the features of a network that predicts rotations
    assert "reference: predicts rotations" in answers["reference"].err
    assert read(checkout, "reference")["validation"]["accuracy"] > 0.5
    assert "gan: unconditional" in answers["gan"].err
    metrics = read(checkout, "evaluate")
    assert metrics["labeled"] is False
    test = metrics["test"]
    assert "classifier" not in test
    assert set(test["generators"]) == {"gan", "vae", "autoencoder_kde", "pixel_gaussian", "real"}
    assert test["generators"].pop("pixel_gaussian").keys() == {"classifier_frechet_distance"}
    for values in test["generators"].values():
        assert values["classifier_frechet_distance"] > 0
        assert values["reference_accuracy"] == test["reference"]["accuracy"]
        assert not {"class_entropy", "class_shares", "diversity_in_classes"} & set(values)
    assert set(test["robustness"]["occlusion"]["0.2"]["identity"]) == {"mse"}

    # clusters take the place of classes
    latent = test["autoencoder"]["latent"]
    assert latent["clusters"] >= 3
    assert -1 <= latent["cluster_silhouette"] <= 1
    assert "knn_accuracy" not in latent
    assert all(name.startswith("cluster ") for name in latent["walks"])

    # MLflow says what was left out
    client = mlflow.MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/shapes")
    runs = {name_of(run): run for run in client.search_runs([experiment.experiment_id])}
    assert {runs[stage].info.status for stage in STAGES} == {"FINISHED"}
    assert runs["evaluate"].data.tags["labels"] == "none"
    assert "no class labels" in runs["finetune"].data.tags["skipped"]

    # the gate requires no metric of a classifier
    write_json(checkout.root / "dvc.lock", LOCK)
    accepted = latentlab("gate", "--accept", "--stale-ok")
    assert accepted.code == 0, accepted.err
    judged = latentlab("gate", "--stale-ok", "--format", "json")
    assert judged.code == 0, judged.err
    compared = {each["metric"] for each in json.loads(judged.out)["metrics"]}
    assert "evaluate/test/generators/gan/relative_frechet_distance" in compared
    assert "evaluate/test/reference/accuracy" in compared
    assert not any("/classifier/" in name for name in compared)

    # the report says that there are no classes, and the explorer shows clusters
    answer = latentlab("report")
    assert answer.code == 0, answer.err
    folder = checkout.outputs("report")
    text = "shapes has no class labels, so no classifier was trained."
    assert text in (folder / "index.html").read_text(encoding="utf-8")
    assert "cluster 1" in (folder / "explorer.html").read_text(encoding="utf-8")
