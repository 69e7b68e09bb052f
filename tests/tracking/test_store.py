import os
import shutil

import mlflow
import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.project import Project
from latentlab.tracking.run import track
from latentlab.tracking.store import brief, connect, count_runs, store_uri

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_counting_the_runs_of_a_missing_store_does_not_create_it(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert count_runs(Project(tmp_path, tmp_path)) == 0
    assert os.listdir(tmp_path) == []


def test_counting_the_runs_of_an_unreadable_store_raises_an_error(project):
    (project.root / "mlflow.db").write_text("this is not a database" * 100)

    with pytest.raises(EnvironmentProblem, match="not a database"):
        count_runs(project)


@pytest.mark.usefixtures("cold_recorders")
def test_runs_go_to_the_store_that_the_environment_names(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path / "other.db")
    project = Project(tmp_path, tmp_path)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert store_uri(project) == other

    with track(project, "train", "shapes", "fingerprint") as run, run.nested("fold 1"):
        pass

    assert not (project.root / "mlflow.db").exists()
    assert count_runs(project) == 2
    mlflow.set_tracking_uri(None)


def test_a_deleted_experiment_is_restored(project, runs):
    experiment = connect(project, "latentlab/shapes")
    runs.client.delete_experiment(experiment)

    assert connect(project, "latentlab/shapes") == experiment
    restored = runs.client.get_experiment_by_name("latentlab/shapes")
    assert restored.lifecycle_stage == "active"
    assert restored.tags["mlflow.experimentKind"] == "custom_model_development"
    assert restored.artifact_location == (project.home / "mlruns").as_uri()


def test_an_error_is_shortened_to_its_first_informative_line():
    assert brief(ValueError("\none\ntwo\n")) == "one"
    assert brief(ValueError("(raised as a result of autoflush)\n(sqlite3) readonly")) == (
        "(sqlite3) readonly"
    )
    assert brief(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(brief(ValueError("x" * 1000))) == 500


def test_mlflow_sends_no_telemetry_and_loads_no_pickles():
    assert mlflow.environment_variables.MLFLOW_DISABLE_TELEMETRY.get() is True
    assert mlflow.environment_variables.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False
