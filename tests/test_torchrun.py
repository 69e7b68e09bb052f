"""Training by two processes as a person starts it: torchrun, in a clone of this checkout."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from ruamel.yaml import YAML

from crafting import copy_checkout

pytestmark = [
    pytest.mark.slow,
    # SQLAlchemy's, for a query of MLflow's
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TORCHRUN = ("torchrun", "--nproc-per-node", "2", "--no-python", "latentlab")
FOUND = {"channels": [4, 8], "hidden": 16, "latent_dim": 4}
SMALL = {
    "epochs": 3,
    "optimizer": "adamw",
    "learning_rate": 0.004,
    "weight_decay": 0.0001,
    "folds": 2,
}


class Clone:
    """A temporary clone of the checkout under test, with commands run as a person would."""

    def __init__(self, root):
        self.root = root
        # what an outer torchrun, MLflow or DVC says is not meant for it
        foreign = ("MLFLOW_", "DVC_", "LATENTLAB_", "GIT_", "TORCHELASTIC_", "MASTER_")
        names = [name for name in os.environ if not name.startswith(foreign)]
        self.environment = {name: os.environ[name] for name in names} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *command):
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )

    def stop(self, *command):
        """Start a command, stop it by SIGTERM when it has a new checkpoint; its exit code."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stderr=subprocess.DEVNULL
        )
        before = self.checkpoints()
        while process.poll() is None and self.checkpoints() == before:
            time.sleep(0.1)
        process.terminate()
        return process.wait()

    def checkpoints(self):
        """The checkpoints of train, by the time at which they were written."""
        found = self.root.glob(".latentlab/checkpoints/train-*/training-cpu.pt")
        return {(path, path.stat().st_mtime) for path in found}

    def succeed(self, *command):
        done = self(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def edit(self, **changes):
        """Change values of train in params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        document = yaml.load(path)
        document["train"].update(changes)
        document["train"]["model"].update(FOUND)
        document["runtime"].update(threads=1, device="cpu")
        yaml.dump(document, path)

    def runs(self):
        """The MLflow runs that are not nested in another, newest first."""
        client = mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("latentlab/digits")
        found = client.search_runs([experiment.experiment_id])
        return [run for run in found if "mlflow.parentRunId" not in run.data.tags]

    def result(self):
        """The metrics and the history that train wrote."""
        output = self.root / "outputs" / "train"
        with (output / "history.csv").open() as file:
            rows = [{name: float(row[name]) for name in row} for row in csv.DictReader(file)]
        return json.loads((output / "metrics.json").read_text()), rows


@pytest.fixture(scope="module")
def clone(repository, tmp_path_factory):
    root = tmp_path_factory.mktemp("clone")
    copy_checkout(repository, root)
    clone = Clone(root)
    for command in ("init -q", "add -A", "-c user.name=t -c user.email=t@t commit -qm clone"):
        clone.succeed("git", *command.split())
    clone.succeed("dvc", "pull", "data.dvc")
    clone.edit(**SMALL)
    clone.succeed("latentlab", "fetch")
    return clone


@pytest.fixture(scope="module")
def alone(clone):
    """What one process makes of it."""
    clone.succeed("latentlab", "train")
    return clone.result()


@pytest.fixture(scope="module")
def together(clone, alone):
    """What two processes make of it, and the runs that they left beside those before."""
    before = {run.info.run_id for run in clone.runs()}
    said = clone.succeed(*TORCHRUN, "train")
    return *clone.result(), [run for run in clone.runs() if run.info.run_id not in before], said


def test_two_processes_come_to_the_figures_of_one(alone, together):
    metrics, history, *_ = together
    expected, expected_history = alone

    assert metrics["validation"]["mse"] == pytest.approx(expected["validation"]["mse"], rel=1e-3)
    assert metrics["best_epoch"] == expected["best_epoch"]
    assert metrics["parameters"] == expected["parameters"]
    assert len(history) == len(expected_history) == SMALL["epochs"]
    for record, other in zip(history, expected_history, strict=True):
        assert record == pytest.approx(other, rel=1e-3)


def test_the_parts_of_a_cross_validation_have_the_same_bits(alone, together):
    """Each of them is trained by one process, in both cases."""
    assert together[0]["folds"] == alone[0]["folds"]


def test_two_processes_leave_one_finished_run(together):
    metrics, history, (run,), _ = together

    assert run.info.run_name == "train"
    assert run.info.status == "FINISHED"
    assert run.data.tags["processes"] == "2"
    assert run.data.metrics["validation/mse"] == metrics["validation"]["mse"]
    assert run.data.metrics["train/loss"] == history[-1]["train/loss"]


def test_two_processes_say_what_one_says(together):
    """What torchrun says of itself, before its processes start, aside."""
    said = together[3]

    assert "Warning" not in said.partition("latentlab")[2]
    assert "Traceback" not in said


def test_two_processes_leave_nothing_but_the_outputs(clone, together):
    assert not list(clone.root.glob(".latentlab/checkpoints/*"))
    status = clone.succeed("git", "status", "--porcelain").splitlines()
    assert {line[3:] for line in status} <= {"params.yaml", "dvc.lock", "outputs/"}


@pytest.mark.parametrize("verb", ["vae", "search"])
def test_other_stages_are_refused_with_one_message(clone, verb):
    before = len(clone.runs())
    refused = clone(*TORCHRUN, verb)

    assert refused.returncode != 0
    errors = re.findall(r"^error: .*$", refused.stderr, re.MULTILINE)
    assert errors == [f"error: torchrun starts several processes; only train uses them, not {verb}"]
    assert "latentlab/cli.py" not in refused.stderr
    assert len(clone.runs()) == before
    assert not (clone.root / "outputs" / verb).exists()


def test_divergence_is_told_once_and_fails_one_run(clone, together):
    before = {run.info.run_id for run in clone.runs()}
    clone.edit(optimizer="sgd", learning_rate=1e30)
    failed = clone(*TORCHRUN, "train")

    assert failed.returncode != 0
    assert failed.stderr.count("lower learning_rate") == 1
    assert "latentlab/cli.py" not in failed.stderr
    (run,) = (run for run in clone.runs() if run.info.run_id not in before)
    assert run.info.status == "FAILED"
    assert "lower learning_rate" in run.data.tags["reason"]


def test_one_process_takes_up_the_run_of_two_that_were_stopped(clone, together):
    clone.edit(**SMALL | {"epochs": 1_000_000, "folds": None, "patience": None})
    assert clone.stop(*TORCHRUN, "train") != 0
    (stopped, *_) = clone.runs()
    assert stopped.info.status == "KILLED"

    assert clone.stop("latentlab", "train") == 143
    (taken_up, *_) = clone.runs()
    assert taken_up.info.run_id == stopped.info.run_id
    assert taken_up.info.status == "KILLED"
