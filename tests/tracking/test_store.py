import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import mlflow
import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.project import Project
from latentlab.tracking.local_store import other_artifact_folders
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


@pytest.mark.usefixtures("cold_processes")
def test_runs_go_to_the_store_that_the_environment_names(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path / "other.db")
    project = Project(tmp_path, tmp_path)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert store_uri(project) == other

    with track(project, "train", "shapes", "fingerprint") as run, run.nested("fold 1", "fold"):
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
    assert restored.tags["mlflow.experiment.primaryMetric.name"] == "validation/mse"
    assert restored.artifact_location == (project.home / "mlruns").as_uri()


def test_a_copied_checkout_writes_and_finds_artifacts_in_its_own_folder(
    tmp_path, monkeypatch, empty_store, runs_of
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    original = Project(*[tmp_path / "original folder"] * 2)
    original.root.mkdir()
    shutil.copy(empty_store, original.root)
    (original.root / "plot.txt").write_text("")
    with track(original, "train", "shapes", "fingerprint") as run:
        run.log_files(original.root / "plot.txt")
    copy = Project(*[tmp_path / "copy"] * 2)
    shutil.copytree(original.root, copy.root)
    assert other_artifact_folders(copy) == [(original.root / "mlruns").as_uri()]
    before = sorted(original.root.rglob("*"))

    with track(copy, "vae", "shapes", "fingerprint") as run:
        run.log_files(copy.root / "plot.txt")

    assert sorted(original.root.rglob("*")) == before
    assert other_artifact_folders(copy) == []
    shutil.rmtree(original.root)
    client = runs_of(copy).client
    for run in runs_of(copy).all():
        assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["plot.txt"]


def test_several_recorders_can_create_the_default_store(tmp_path, monkeypatch, runs_of):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = Project(tmp_path, tmp_path)
    names = [f"stage {number}" for number in range(4)]

    with ExitStack() as stack:  # none of these calls waits for its recorder
        for name in names:
            run = stack.enter_context(track(project, name, "shapes", "fingerprint"))
            run.log_epoch({"epoch": 1, "train/loss": 1.0})

    runs = runs_of(project)
    assert runs.statuses == dict.fromkeys(names, "FINISHED")
    assert all(run.data.metrics == {"train/loss": 1.0} for run in runs.all())


def test_ten_stages_can_write_to_the_default_store_at_once(project, runs):
    def stage(number):
        with track(project, f"stage {number}", "shapes", "fingerprint") as run:
            for epoch in range(1, 31):
                run.log_epoch({"epoch": epoch, "train/loss": 1 / epoch, "train/mse": 2 / epoch})
                run.set_tags({"epoch": epoch})

    with ThreadPoolExecutor(10) as executor:
        list(executor.map(stage, range(10)))

    assert runs.statuses == {f"stage {number}": "FINISHED" for number in range(10)}
    for name in runs.statuses:
        for metric in ("train/loss", "train/mse"):
            assert runs.steps(name, metric) == list(range(1, 31))


@contextmanager
def silent_server():
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_reported_within_seconds(project, monkeypatch, message):
    with silent_server() as hanging:
        for name, uri in {"hangs": hanging, "is not running": "http://127.0.0.1:1"}.items():
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            start = time.monotonic()
            with pytest.raises(EnvironmentProblem) as error, track(project, "train", "shapes", ""):
                pytest.fail("the stage has started")

            assert time.monotonic() - start < 3
            message(f"tracking/server {name}", str(error.value).replace(uri, "<uri>"))


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
