import os
import signal
import time

import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.data.image_set import DatasetInfo
from latentlab.tracking.run import track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.usefixtures("cold_recorders")
def test_a_run_that_ends_well_is_finished_with_all_it_was_told(project, runs, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    (project.root / "plots").mkdir()
    (project.root / "plots" / "loss.png").write_bytes(b"png")
    (project.root / "table.csv").write_text("a,b\n")
    info = DatasetInfo("shapes", ["a"], [1, 8, 8], {"train": 5}, [0.5], [0.1], {"f": "0"}, "d" * 64)

    with track(project, "train", "shapes", "k" * 64) as run:
        run.set_tags({"seed": 3, "device": "cpu"})
        run.log_params({"train": {"model": {"hidden": 8}, "learning_rate": 0.1}})
        run.log_dataset(info)
        run.log_epoch({"epoch": 1, "train/loss": 2.0})
        run.log_epoch({"epoch": 2, "train/loss": 1.0})
        run.log_epoch({"epoch": 1, "train/loss": 2.0})
        run.log_metrics({"validation": {"mse": 0.25}}, step=2)
        run.log_files(project.root / "plots")
        run.log_files(project.root / "table.csv")
        with run.nested("fold 1") as nested:
            nested.log_params({"l1": 0.5})
            nested.log_epoch({"epoch": 1, "train/loss": 7.0})

    run, nested = runs["train"], runs["fold 1"]
    assert run.info.status == nested.info.status == "FINISHED"
    assert run.data.params["train.model.hidden"] == "8"
    assert run.data.params["dataset.train"] == "5"
    assert run.data.metrics == {"train/loss": 1.0, "validation/mse": 0.25}
    assert runs.steps("train", "train/loss") == [1, 2]
    tags = {"stage": "train", "dataset": "shapes", "seed": "3", "device": "cpu"}
    tags |= {"data_hash": "d" * 64, "fingerprint": "k" * 64, "dvc_exp_name": "bold-idea"}
    assert tags.items() <= run.data.tags.items()
    assert "reason" not in run.data.tags
    assert run.inputs.dataset_inputs[0].dataset.name == "shapes"
    assert run.info.artifact_uri.startswith((project.root / "mlruns").as_uri())
    artifacts = project.root / "mlruns" / run.info.run_id / "artifacts"
    assert (artifacts / "plots" / "loss.png").read_bytes() == b"png"
    assert (artifacts / "table.csv").exists()
    assert nested.data.params == {"l1": "0.5"}
    assert nested.data.metrics == {"train/loss": 7.0}
    assert nested.data.tags["mlflow.parentRunId"] == run.info.run_id


def test_a_run_that_raises_is_failed_with_the_reason(project, runs):
    with (
        pytest.raises(ValueError, match="too hot"),
        track(project, "train", "shapes", "key") as run,
        run.nested("trial 0"),
    ):
        raise ValueError("too hot")

    assert runs.statuses == {"train": "FAILED", "trial 0": "FAILED"}
    assert runs["train"].data.tags["reason"] == "too hot"


def test_a_run_that_is_interrupted_is_killed(project, runs):
    with pytest.raises(KeyboardInterrupt), track(project, "train", "shapes", "key"):
        raise KeyboardInterrupt

    assert runs["train"].info.status == "KILLED"


def execute(project, work):
    with track(project, "train", "shapes", "key") as run:
        work(run)


def tell_until_refused(run):
    """What a long stage does: it tells its epochs, until that raises."""
    for epoch in range(1, 601):
        run.log_epoch({"epoch": epoch, "train/loss": 1.0})
        time.sleep(0.1)
    pytest.fail("the stage must not go on")


def lose_the_recorder(run):
    os.kill(run.recorder._process.pid, signal.SIGKILL)
    tell_until_refused(run)


def contradict(run):
    run.log_params({"l1": 1})
    run.log_params({"l1": 2})


@pytest.mark.parametrize("work", [lambda run: None, tell_until_refused], ids=["end", "next word"])
def test_a_store_that_cannot_be_used_is_an_error_for_a_person(project, work):
    """At the end of a short stage, at the next word of a long one."""
    (project.root / "mlflow.db").write_text("this is not a database" * 100)

    with pytest.raises(EnvironmentProblem, match=r"mlflow.db cannot be used: .*latentlab doctor"):
        execute(project, work)


def test_what_cannot_be_recorded_fails_the_run_with_the_reason(project, runs):
    with pytest.raises(EnvironmentProblem, match="Changing param values is not allowed"):
        execute(project, contradict)

    assert runs["train"].info.status == "FAILED"
    assert "Changing param values is not allowed" in runs["train"].data.tags["reason"]


def test_a_recorder_that_dies_is_an_error_for_a_person(project):
    with pytest.raises(EnvironmentProblem, match="cannot be used: the recorder died"):
        execute(project, lose_the_recorder)
