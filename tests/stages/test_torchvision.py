"""Datasets of torchvision run through `fetch` and a short `train`."""

import json

import mlflow
import pytest

import torchvision_layouts as layouts

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def short_train(bench, monkeypatch):
    """Return a function that runs `fetch` and one epoch of `train`, and returns the dataset."""
    layouts.accept_all_files(monkeypatch)

    def run(name, **data):
        changes = {f"data.{key}": value for key, value in data.items()}
        bench.edit({"data.name": name, "data.image_size": 32, "train.epochs": 1} | changes)
        for stage in ("fetch", "train"):
            answer = bench.run(stage)
            assert answer.code == 0, answer.err
        metrics = json.loads((bench.project.outputs("train") / "metrics.json").read_text())
        assert 0 < metrics["validation"]["mse"] < 0.2
        return json.loads((bench.project.outputs("fetch") / "dataset.json").read_text())

    return run


def test_cifar10(bench, short_train, monkeypatch):
    archive, _ = layouts.write_cifar10(bench.project.data / "torchvision/CIFAR10")
    layouts.pin(monkeypatch, "CIFAR10", archive)

    info = short_train("torchvision/CIFAR10")

    assert info["image_shape"] == [3, 32, 32]
    assert info["sizes"] == {"train": 90, "validation": 10, "test": 20}
    assert list(info["sha256"]) == [
        "cifar-10-python.tar.gz",
        "torchvision/CIFAR10 train (100 images)",
        "torchvision/CIFAR10 test (20 images)",
    ]
    client = mlflow.MlflowClient(f"sqlite:///{bench.project.home / 'mlflow.db'}")
    assert client.get_experiment_by_name("latentlab/torchvision/CIFAR10")


def test_svhn(bench, short_train):
    layouts.write_svhn(bench.project.data / "torchvision/SVHN")

    info = short_train("torchvision/SVHN", channels=1)

    assert info["image_shape"] == [1, 32, 32]
    card = bench.project.outputs("fetch") / "data_card.md"
    assert "non-commercial use only" in card.read_text()
    assert info["classes"] == list("0123456789")
