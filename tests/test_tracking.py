import os
import subprocess
import sys

import mlflow
import numpy as np
import pytest
import torch

from latentlab.data.image_set import DatasetInfo
from latentlab.errors import EnvironmentProblem
from latentlab.models.autoencoder import Autoencoder
from latentlab.project import Project
from latentlab.tracking import count_runs, track

pytestmark = pytest.mark.filterwarnings(
    # MLflow's and torch's own, on the versions in the lock
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore:.*type hint is inferred as AnyType:UserWarning",
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield Project(tmp_path, tmp_path)
    mlflow.set_tracking_uri(None)


def runs(project):
    client = mlflow.MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/shapes")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_run_that_ends_well_is_finished_with_all_it_was_told(project):
    (project.root / "plots").mkdir()
    (project.root / "plots" / "loss.png").write_bytes(b"png")
    info = DatasetInfo("shapes", ["a"], [1, 8, 8], {"train": 5}, [0.5], [0.1], {"f": "0"}, "d" * 64)

    with track(project, "train", "shapes", {"seed": 3, "device": "cpu"}) as run:
        run.log_params({"train": {"model": {"hidden": 8}, "learning_rate": 0.1}})
        run.log_dataset(info)
        run.log_epoch({"epoch": 1, "train/loss": 2.0})
        run.log_epoch({"epoch": 2, "train/loss": 1.0})
        run.log_metrics({"validation": {"mse": 0.25}}, step=2)
        run.log_files(project.root / "plots")

    run = runs(project)["train"]
    assert run.info.status == "FINISHED"
    assert run.data.params["train.model.hidden"] == "8"
    assert run.data.params["dataset.train"] == "5"
    assert run.data.metrics == {"train/loss": 1.0, "validation/mse": 0.25}
    tags = {"stage": "train", "dataset": "shapes", "data_hash": "d" * 64, "seed": "3"}
    assert tags.items() <= run.data.tags.items()
    assert run.inputs.dataset_inputs[0].dataset.name == "shapes"
    assert run.info.artifact_uri.startswith((project.root / "mlruns").as_uri())
    assert (project.root / "mlruns" / run.info.run_id / "artifacts" / "plots" / "loss.png").exists()


def test_a_run_that_raises_is_failed_with_the_reason(project):
    with (
        pytest.raises(ValueError, match="too hot"),
        track(project, "train", "shapes", {}) as run,
        run.child("trial 0"),
    ):
        raise ValueError("too hot")

    ended = runs(project)
    assert {run.info.status for run in ended.values()} == {"FAILED"}
    assert ended["train"].data.tags["reason"] == "too hot"


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_interrupted_is_killed(project, signal):
    with pytest.raises(signal), track(project, "train", "shapes", {}):
        raise signal

    assert runs(project)["train"].info.status == "KILLED"
    assert mlflow.active_run() is None


def test_a_run_whose_process_was_killed_outright_is_ended_by_the_next(project):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from latentlab.project import Project; from latentlab.tracking import track\n"
        "with track(Project(*[Path(sys.argv[1])] * 2), 'search', 'shapes', {}) as run:\n"
        "    with run.child('trial 0'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(project.root)], check=False)
    assert {run.info.status for run in runs(project).values()} == {"RUNNING"}

    with track(project, "train", "shapes", {}):
        pass

    ended = {name: run.info.status for name, run in runs(project).items()}
    assert ended == {"search": "KILLED", "trial 0": "KILLED", "train": "FINISHED"}


def test_a_run_that_is_alive_is_left_running(project):
    with track(project, "train", "shapes", {}):
        code = (
            "import sys; from pathlib import Path\n"
            "from latentlab.project import Project; from latentlab.tracking import track\n"
            "with track(Project(*[Path(sys.argv[1])] * 2), 'vae', 'shapes', {}): pass\n"
        )
        subprocess.run([sys.executable, "-c", code, str(project.root)], check=True)
        assert runs(project)["train"].info.status == "RUNNING"


def test_the_logged_model_predicts_what_the_network_does_for_any_batch_size(project):
    model = Autoencoder((1, 8, 8), [4, 8], 16, 2, "silu", "subpixel").to(
        memory_format=torch.channels_last
    )
    images = torch.rand(7, 1, 8, 8)
    with track(project, "train", "shapes", {}) as run:
        run.log_model(model, images[:2])
        run_id = run.id

    served = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")

    with torch.inference_mode():
        expected = model.eval()(images).numpy()
    np.testing.assert_allclose(served.predict(images.numpy()), expected, atol=1e-6)


def test_the_experiment_of_a_dvc_experiment_is_tagged(project, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    with track(project, "train", "shapes", {}):
        pass

    assert runs(project)["train"].data.tags["dvc_exp_name"] == "bold-idea"


def test_another_store_is_honoured(project, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    with track(project, "train", "shapes", {}):
        pass

    assert (tmp_path / "other.db").exists()
    assert not (project.root / "mlflow.db").exists()


def test_a_store_that_cannot_be_used_is_an_error_for_a_person(project):
    (project.root / "mlflow.db").write_text("this is not a database" * 100)

    with (
        pytest.raises(EnvironmentProblem, match=r"mlflow.db cannot be used: .*latentlab doctor"),
        track(project, "train", "shapes", {}),
    ):
        pytest.fail("the stage must not start")


def test_runs_are_counted_and_an_absent_store_has_none(project):
    assert count_runs(project) == 0
    assert os.listdir(project.root) == []
    with track(project, "train", "shapes", {}):
        pass

    assert count_runs(project) == 1
