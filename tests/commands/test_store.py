import json
import os

import mlflow
import pytest

from latentlab.commands.store import open_ui
from latentlab.common.project import Project
from latentlab.params.load import load_params
from latentlab.tracking.view import COLUMNS, KEY

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_ui_is_started_after_the_address_of_a_page_with_a_shared_view_is_printed(
    checkout, empty_store, monkeypatch, capsys
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (checkout.home / "mlflow.db").write_bytes(empty_store.read_bytes())
    started = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append((os.getcwd(), command)))

    open_ui(Project(checkout.root, checkout.home), load_params(checkout.params), 5017)

    address = capsys.readouterr().out.strip()
    client = mlflow.MlflowClient(f"sqlite:///{checkout.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/digits")
    page, _, query = address.partition("?")
    assert page == f"http://127.0.0.1:5017/#/experiments/{experiment.experiment_id}/runs"
    assert query == f"workflowType=machine_learning&viewStateShareKey={KEY}"
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{KEY}"])
    assert view["selectedColumns"] == list(COLUMNS)
    assert view["compareRunSections"][0]["name"] == "Learning curves"
    ((folder, command),) = started
    assert folder == str(checkout.home)
    assert command[1:] == ["-m", "mlflow", "ui", "--port", "5017"]
    mlflow.set_tracking_uri(None)
