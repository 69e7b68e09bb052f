"""`latentlab promote` and `latentlab rollback`."""

import json
import shutil

import mlflow
import numpy as np
import pytest
import torch

from latentlab.commands import gate
from latentlab.gate.baseline import baseline_path
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.io import save_model
from logged_outputs import ARCHITECTURE, IMAGES, write_gate, write_outputs
from mlflow_server import Server

pytestmark = pytest.mark.filterwarnings(
    # MLflow's and torch's own, on the versions in the lock
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:.*type hint is inferred as AnyType:UserWarning",
)

MODELS = ["latentlab-autoencoder", "latentlab-autoencoder-decoder", "latentlab-classifier"]


@pytest.fixture
def project(checkout, empty_store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, checkout.home)
    monkeypatch.setattr(gate, "check_current", lambda root: None)
    write_gate(checkout)
    yield checkout
    mlflow.set_tracking_uri(None)


@pytest.fixture
def client(project):
    return mlflow.MlflowClient(f"sqlite:///{project.home / 'mlflow.db'}")


@pytest.fixture
def standings(client):
    """Return a function: the aliases of each registered model, and its number of versions."""

    def read():
        return {
            model.name: {key: int(value) for key, value in model.aliases.items()}
            | {"versions": len(client.search_model_versions(f"name = '{model.name}'"))}
            for model in client.search_registered_models()
        }

    return read


def test_promotion_registers_the_models_as_challengers_and_champions(
    project, client, latentlab, standings, message
):
    classifier = write_outputs(project)

    answer = latentlab("promote")

    assert answer.code == 0, answer.err
    message("promote/gate passed", answer.err)
    rows = [line.split() for line in answer.out.splitlines()]
    assert [row for row in rows if row[1:] == ["1", "1"]] == [[name, "1", "1"] for name in MODELS]
    first = {"challenger": 1, "champion": 1, "versions": 1}
    assert standings() == dict.fromkeys(MODELS, first)
    version = client.get_model_version_by_alias("latentlab-classifier", "champion")
    expected = {"data_hash": "d" * 64, "dataset": "digits", "gate": "passed: 2 metrics"}
    expected |= {"test/classifier/accuracy": "0.9", "validation/accuracy": "0.9"}
    assert expected.items() <= version.tags.items()
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    link = logged.tags["mlflow.modelVersions"]
    assert json.loads(link) == [{"name": "latentlab-classifier", "version": 1}]
    mlflow.set_tracking_uri(client.tracking_uri)
    loaded = mlflow.pyfunc.load_model("models:/latentlab-classifier@champion")
    with torch.inference_mode():
        probabilities = classifier(IMAGES).softmax(1)
    np.testing.assert_array_equal(loaded.predict(IMAGES.numpy()).iloc[:, 1:], probabilities)


def test_promoting_the_same_outputs_again_changes_nothing(project, latentlab, standings):
    write_outputs(project)
    latentlab("promote")
    write_outputs(project, seed=1)
    latentlab("promote")
    before = standings()
    write_outputs(project, seed=1, evaluate=False)  # the same models, logged by other runs

    assert latentlab("promote").code == 0
    assert standings() == before


def test_a_rollback_restores_the_champions_that_the_last_promotion_replaced(
    project, latentlab, standings, message
):
    write_outputs(project)
    latentlab("promote")
    write_outputs(project, seed=1)

    assert latentlab("promote").code == 0

    promoted = standings()
    assert promoted["latentlab-classifier"] == {
        **{"challenger": 2, "champion": 2, "previous": 1, "versions": 2}
    }
    assert promoted["latentlab-autoencoder"] == {"challenger": 1, "champion": 1, "versions": 1}
    answer = latentlab("rollback")
    assert answer.code == 0
    assert answer.out.split()[-3:] == ["latentlab-classifier", "2", "1"]
    assert standings() == promoted | {
        "latentlab-classifier": {"challenger": 2, "champion": 1, "versions": 2}
    }
    answer = latentlab("rollback")
    assert answer.code == 2
    message("rollback/nothing to roll back", answer.err)


def test_if_the_gate_fails_the_models_are_challengers_only(
    project, client, latentlab, standings, message
):
    write_outputs(project)
    latentlab("promote")
    write_outputs(project, seed=1, accuracy=0.5)

    answer = latentlab("promote")

    assert answer.code == 1
    message("promote/gate failed", answer.err)
    assert standings()["latentlab-classifier"] == {"challenger": 2, "champion": 1, "versions": 2}
    challenger = client.get_model_version_by_alias("latentlab-classifier", "challenger")
    assert challenger.tags["gate"] == "failed: evaluate/test/classifier/accuracy"

    write_gate(project, accuracy=0.5)  # after the new accuracy was accepted
    assert latentlab("promote").code == 0
    champion = client.get_model_version_by_alias("latentlab-classifier", "champion")
    assert (champion.version, champion.tags["gate"]) == (challenger.version, "passed: 2 metrics")


@pytest.mark.slow
def test_promotion_and_rollback_work_with_a_tracking_server(
    project, latentlab, tmp_path, empty_store, monkeypatch
):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, empty_store)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        classifier = write_outputs(project)

        assert latentlab("promote").code == 0

        mlflow.set_tracking_uri(server.uri)
        loaded = mlflow.pyfunc.load_model("models:/latentlab-classifier@champion")
        with torch.inference_mode():
            probabilities = classifier(IMAGES).softmax(1)
        np.testing.assert_array_equal(loaded.predict(IMAGES.numpy()).iloc[:, 1:], probabilities)
        # as if it had replaced itself; another promotion would take seconds
        server.client.set_registered_model_alias("latentlab-classifier", "previous", "1")
        assert latentlab("rollback").code == 0
        aliases = server.client.get_registered_model("latentlab-classifier").aliases
        assert aliases == {"challenger": "1", "champion": "1"}
    finally:
        server.kill()


def test_models_that_are_not_in_the_store_or_not_evaluated_are_reported(
    project, latentlab, standings, message
):
    write_outputs(project)
    torch.manual_seed(5)
    save_model(Autoencoder(ARCHITECTURE), project.outputs("train") / "model")
    metrics = project.outputs("evaluate") / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.9", "0.91"))

    answer = latentlab("promote")

    assert answer.code == 4
    message("promote/unknown models", answer.err)
    assert standings() == {}


def test_a_missing_store_is_reported(project, latentlab, message):
    write_outputs(project)
    (project.home / "mlflow.db").unlink()

    for command in ("promote", "rollback"):
        answer = latentlab(command)
        assert answer.code == 4
        message("promote/no store", answer.err)


def test_without_a_baseline_nothing_is_registered(project, latentlab, standings):
    write_outputs(project)
    baseline_path(project.root, "digits").unlink()

    answer = latentlab("promote")

    assert answer.code == 2
    assert "the baseline" in answer.err
    assert standings() == {}
