import shutil
import time

import mlflow
import pytest

from latentlab.common.project import Project


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    yield Project(tmp_path, tmp_path)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def client(checkout, empty_store, monkeypatch):
    """A client of the empty default store of a checkout."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, checkout.home)
    yield mlflow.MlflowClient(f"sqlite:///{checkout.home / 'mlflow.db'}")
    mlflow.set_tracking_uri(None)


class Runs:
    """The runs of the dataset `shapes` in the store of a project."""

    def __init__(self, project):
        self._uri = f"sqlite:///{project.home / 'mlflow.db'}"

    @property
    def client(self):
        return mlflow.MlflowClient(self._uri)

    def all(self):
        """Return all runs, newest first; none before the recorder has created the experiment."""
        experiment = self.client.get_experiment_by_name("latentlab/shapes")
        return self.client.search_runs([experiment.experiment_id]) if experiment else []

    def __getitem__(self, name):
        """Return the only run with this name."""
        (run,) = [run for run in self.all() if run.info.run_name == name]
        return run

    @property
    def statuses(self):
        return {run.info.run_name: run.info.status for run in self.all()}

    def steps(self, name, metric):
        history = self.client.get_metric_history(self[name].info.run_id, metric)
        return [point.step for point in history]

    def artifacts(self, name, folder):
        """Return the paths of the artifacts of a run in a folder."""
        return [file.path for file in self.client.list_artifacts(self[name].info.run_id, folder)]

    def wait_until(self, expected, seconds=60):
        """Poll until the runs have the expected statuses."""
        deadline = time.monotonic() + seconds
        while (statuses := self.statuses) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert statuses == expected


@pytest.fixture
def runs(project):
    return Runs(project)


@pytest.fixture
def runs_of():
    """Return the runs in the store of another project."""
    return Runs
