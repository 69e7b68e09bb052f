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


class Runs:
    """The runs of the dataset `shapes` as they are in the store of a project."""

    def __init__(self, project):
        self._uri = f"sqlite:///{project.home / 'mlflow.db'}"

    @property
    def client(self):
        return mlflow.MlflowClient(self._uri)

    def all(self):
        """Newest first; none before the recorder has made the experiment."""
        experiment = self.client.get_experiment_by_name("latentlab/shapes")
        return self.client.search_runs([experiment.experiment_id]) if experiment else []

    def __getitem__(self, name):
        """The run of that name; an error where there is not exactly one."""
        (run,) = [run for run in self.all() if run.info.run_name == name]
        return run

    @property
    def statuses(self):
        return {run.info.run_name: run.info.status for run in self.all()}

    def steps(self, name, metric):
        history = self.client.get_metric_history(self[name].info.run_id, metric)
        return [point.step for point in history]

    def wait_until(self, expected, seconds=60):
        """Poll until the statuses are the expected ones."""
        deadline = time.monotonic() + seconds
        while (found := self.statuses) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == expected


@pytest.fixture
def runs(project):
    return Runs(project)
