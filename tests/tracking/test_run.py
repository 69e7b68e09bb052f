import os
import signal
import subprocess
import time

import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.data.image_set import DatasetInfo
from latentlab.tracking.run import readable, track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.usefixtures("cold_processes")
def test_everything_that_a_stage_logs_is_in_its_finished_run(project, runs, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    (project.root / "plots").mkdir()
    (project.root / "plots" / "loss.png").write_bytes(b"png")
    (project.root / "table.csv").write_text("a,b\n")
    info = DatasetInfo("shapes", ["a"], [1, 8, 8], {"train": 5}, [0.5], [0.1], {"f": "0"}, "d" * 64)

    with track(project, "train", "shapes", "f" * 64) as run:
        run.set_tags({"seed": 3, "device": "cpu"})
        run.log_params({"train": {"model": {"hidden": 8}, "learning_rate": 0.1}})
        run.log_dataset(info)
        for split in ("train", "validation", "train"):
            run.log_split(info, split)
        run.log_epoch({"epoch": 1, "train/loss": 2.0})
        run.log_epoch({"epoch": 2, "train/loss": 1.0})
        run.log_epoch({"epoch": 1, "train/loss": 2.0})  # ignored, because it is logged already
        run.log_metrics({"validation": {"mse": 0.25}}, step=2)
        run.set_name("train latent 8")
        run.describe({"validation/mse": 0.25, "parameters": 212213})
        run.log_files(project.root / "plots")
        run.log_files(project.root / "table.csv")
        with run.nested("fold 1", "fold") as nested:
            nested.log_params({"l1": 0.5})
            nested.log_epoch({"epoch": 1, "train/loss": 7.0})

    run, nested = runs["train latent 8 (bold-idea)"], runs["fold 1"]
    assert run.info.status == nested.info.status == "FINISHED"
    assert run.data.params["train.model.hidden"] == "8"
    assert run.data.params["dataset.train"] == "5"
    assert run.data.metrics == {"train/loss": 1.0, "validation/mse": 0.25}
    assert runs.steps(run.info.run_name, "train/loss") == [1, 2]
    tags = {"stage": "train", "dataset": "shapes", "seed": "3", "device": "cpu"}
    tags |= {"data_hash": "d" * 64, "fingerprint": "f" * 64, "dvc_exp_name": "bold-idea"}
    assert tags.items() <= run.data.tags.items()
    assert "reason" not in run.data.tags
    inputs = [(each.dataset.name, each.tags[0].value) for each in run.inputs.dataset_inputs]
    assert sorted(inputs) == [("shapes", "training"), ("shapes", "validation")]
    note = run.data.tags["mlflow.note.content"]
    assert note.splitlines() == [
        "| metric | value |",
        "|---|--:|",
        "| validation/mse | 0.25 |",
        "| parameters | 212,213 |",
        "",
        f"Data hash: `{'d' * 64}`",
    ]
    assert run.info.artifact_uri.startswith((project.root / "mlruns").as_uri())
    artifacts = project.root / "mlruns" / run.info.run_id / "artifacts"
    assert (artifacts / "plots" / "loss.png").read_bytes() == b"png"
    assert (artifacts / "table.csv").exists()
    assert nested.data.params == {"l1": "0.5"}
    assert nested.data.metrics == {"train/loss": 7.0}
    assert nested.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert (run.data.tags["kind"], nested.data.tags["kind"]) == ("stage", "fold")
    assert tags.items() <= nested.data.tags.items()


def test_uncommitted_changes_are_tagged_and_attached(project, runs):
    git = ["git", "-C", str(project.root), "-c", "user.name=t", "-c", "user.email=t@t"]
    (project.root / "params.yaml").write_text("epochs: 1\n")
    (project.root / ".gitignore").write_text("mlflow.db*\nmlruns\n.latentlab\n")
    (project.root / "outputs").mkdir()
    for command in ("init -q", "add .", "commit -qm first"):
        subprocess.run([*git, *command.split()], check=True)
    (project.root / "outputs" / "metrics.json").write_text("{}")  # not a change of the inputs
    with track(project, "clean", "shapes", "fingerprint"):
        pass
    (project.root / "params.yaml").write_text("epochs: 2\n")
    with track(project, "dirty", "shapes", "fingerprint"):
        pass

    assert runs["clean"].data.tags["git_dirty"] == "false"
    assert runs["dirty"].data.tags["git_dirty"] == "true"
    assert runs.client.list_artifacts(runs["clean"].info.run_id) == []
    diff = project.root / "mlruns" / runs["dirty"].info.run_id / "artifacts" / "git_diff.patch"
    assert "-epochs: 1\n+epochs: 2\n" in diff.read_text()


def test_a_stage_that_raises_fails_its_runs_with_the_reason(project, runs):
    with (
        pytest.raises(ValueError, match="too hot"),
        track(project, "train", "shapes", "fingerprint") as run,
        run.nested("trial 0", "trial"),
    ):
        raise ValueError("too hot")

    assert runs.statuses == {"train": "FAILED", "trial 0": "FAILED"}
    assert runs["train"].data.tags["reason"] == "too hot"


def test_an_interrupted_stage_marks_its_run_killed(project, runs):
    with pytest.raises(KeyboardInterrupt), track(project, "train", "shapes", "fingerprint"):
        raise KeyboardInterrupt

    assert runs["train"].info.status == "KILLED"


def run_stage(project, work):
    with track(project, "train", "shapes", "fingerprint") as run:
        work(run)


def log_until_it_raises(run):
    """Log epochs as a long stage does."""
    for epoch in range(1, 601):
        run.log_epoch({"epoch": epoch, "train/loss": 1.0})
        time.sleep(0.1)
    pytest.fail("the stage did not notice the error")


def kill_recorder(run):
    os.kill(run.recorder._process.pid, signal.SIGKILL)
    log_until_it_raises(run)


def log_contradicting_params(run):
    run.log_params({"l1": 1})
    run.log_params({"l1": 2})


@pytest.mark.parametrize(
    "work", [lambda run: None, log_until_it_raises], ids=["at the end", "at the next command"]
)
def test_an_unusable_store_raises_an_error(project, message, work):
    (project.root / "mlflow.db").write_text("this is not a database" * 100)

    with pytest.raises(EnvironmentProblem) as error:
        run_stage(project, work)

    message("tracking/unusable store", error.value)


def test_a_command_that_mlflow_rejects_fails_the_run_with_the_reason(project, runs):
    with pytest.raises(EnvironmentProblem, match="Changing param values is not allowed"):
        run_stage(project, log_contradicting_params)

    assert runs["train"].info.status == "FAILED"
    assert "Changing param values is not allowed" in runs["train"].data.tags["reason"]


def test_a_killed_recorder_raises_an_error(project, message):
    with pytest.raises(EnvironmentProblem) as error:
        run_stage(project, kill_recorder)

    message("tracking/killed recorder", error.value)


def test_a_list_of_transforms_is_logged_as_text():
    transforms = [{"RandomHorizontalFlip": {}}, {"RandomCrop": {"padding": 1}}]

    assert readable({"vae": {"augmentation": ()}, "finetune.augmentation": transforms}) == {
        "vae.augmentation": "none",
        "finetune.augmentation": "RandomHorizontalFlip(), RandomCrop(padding=1)",
    }


def test_ranges_and_lists_of_mappings_are_logged_as_readable_parameters():
    momentum = {"type": "float", "low": 0.5, "high": 0.9, "step": 0.1, "log": False}
    space = {
        "train.learning_rate": {"low": 0.001, "high": 0.008, "step": None, "log": True, "when": {}},
        "train.optimizer": {"choices": ["sgd", "adam"], "when": {}},
        "train.momentum": momentum | {"when": {"train.optimizer": "sgd"}, "otherwise": 0.0},
    }
    corruption = [{"name": "gaussian", "severity": [0.05, 0.55]}, {"name": "blur", "severity": 1}]

    assert readable({"search": {"space": space}, "denoise": {"corruption": corruption}}) == {
        "search.space.train.learning_rate": "0.001 to 0.008, log",
        "search.space.train.optimizer": "sgd | adam",
        "search.space.train.momentum": "0.5 to 0.9, step 0.1, if train.optimizer is sgd, else 0.0",
        "denoise.corruption.1.name": "gaussian",
        "denoise.corruption.1.severity": [0.05, 0.55],
        "denoise.corruption.2.name": "blur",
        "denoise.corruption.2.severity": 1,
    }
