"""Training with `torchrun` on the command line, in a clone of this repository."""

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
MODEL = {"channels": [4, 8], "hidden": 16, "latent_dim": 4}
SMALL = {
    "epochs": 3,
    "optimizer": "adamw",
    "learning_rate": 0.004,
    "weight_decay": 0.0001,
    "folds": 2,
}


class Clone:
    """A temporary clone of the repository under test in which commands are run."""

    def __init__(self, root):
        self.root = root
        # variables of an outer torchrun, MLflow or DVC must not affect the commands
        excluded = ("MLFLOW_", "DVC_", "LATENTLAB_", "GIT_", "TORCHELASTIC_", "MASTER_")
        names = [name for name in os.environ if not name.startswith(excluded)]
        self.environment = {name: os.environ[name] for name in names} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command):
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )

    def stop(self, *command):
        """Start a command, send SIGTERM after a new checkpoint, and return the exit code."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stderr=subprocess.DEVNULL
        )
        before = self.checkpoints()
        while process.poll() is None and self.checkpoints() == before:
            time.sleep(0.1)
        process.terminate()
        return process.wait()

    def checkpoints(self):
        """Return the checkpoints of train with the times at which they were written."""
        paths = self.root.glob(".latentlab/checkpoints/train-*/training-cpu.pt")
        return {(path, path.stat().st_mtime) for path in paths}

    def succeed(self, *command):
        """Run a command that must succeed and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def edit(self, **changes):
        """Change values of `train` in `params.yaml`."""
        yaml = YAML()
        path = self.root / "params.yaml"
        document = yaml.load(path)
        document["train"].update(changes)
        document["train"]["model"].update(MODEL)
        document["runtime"].update(threads=1, device="cpu")
        yaml.dump(document, path)

    def runs(self):
        """Return the MLflow runs that are not nested, newest first."""
        client = mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("latentlab/digits")
        runs = client.search_runs([experiment.experiment_id])
        return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    def result(self):
        """Return the metrics and the history that `train` wrote."""
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
def single(clone):
    """The result of a single process."""
    clone.succeed("latentlab", "train")
    return clone.result()


@pytest.fixture(scope="module")
def together(clone, single):
    """The result of two processes, their new runs and their output."""
    before = {run.info.run_id for run in clone.runs()}
    output = clone.succeed(*TORCHRUN, "train")
    return *clone.result(), [run for run in clone.runs() if run.info.run_id not in before], output


def test_two_processes_reach_the_metrics_of_one(single, together):
    metrics, history, *_ = together
    expected, expected_history = single

    assert metrics["validation"]["mse"] == pytest.approx(expected["validation"]["mse"], rel=1e-3)
    assert metrics["best_epoch"] == expected["best_epoch"]
    assert metrics["parameters"] == expected["parameters"]
    assert len(history) == len(expected_history) == SMALL["epochs"]
    for record, other in zip(history, expected_history, strict=True):
        assert record == pytest.approx(other, rel=1e-3)


def test_the_folds_of_a_cross_validation_are_bit_identical(single, together):
    """Each fold is trained by a single process in both cases."""
    assert together[0]["folds"] == single[0]["folds"]


def test_two_processes_log_one_run(together):
    metrics, history, (run,), _ = together

    assert run.data.tags["stage"] == "train"
    assert run.info.status == "FINISHED"
    assert run.data.tags["processes"] == "2"
    assert run.data.metrics["validation/mse"] == metrics["validation"]["mse"]
    assert run.data.metrics["train/loss"] == history[-1]["train/loss"]


def test_two_processes_print_no_warnings(together):
    """Except the messages of torchrun itself before its processes start."""
    output = together[3]

    assert "Warning" not in output.partition("latentlab")[2]
    assert "Traceback" not in output


def test_two_processes_leave_no_other_files_than_the_outputs(clone, together):
    assert not list(clone.root.glob(".latentlab/checkpoints/*"))
    status = clone.succeed("git", "status", "--porcelain").splitlines()
    assert {line[3:] for line in status} <= {"params.yaml", "dvc.lock", "outputs/"}


@pytest.mark.parametrize("verb", ["vae", "search"])
def test_other_stages_reject_several_processes_with_one_message(clone, verb, message):
    before = len(clone.runs())
    rejected = clone.run(*TORCHRUN, verb)

    assert rejected.returncode != 0
    (error,) = re.findall(r"^error: .*$", rejected.stderr, re.MULTILINE)
    message(f"torchrun/other stage {verb}", error)
    assert "latentlab/cli.py" not in rejected.stderr
    assert len(clone.runs()) == before
    assert not (clone.root / "outputs" / verb).exists()


def test_divergence_is_reported_once_and_fails_one_run(clone, together):
    before = {run.info.run_id for run in clone.runs()}
    clone.edit(optimizer="sgd", learning_rate=1e30)
    failed = clone.run(*TORCHRUN, "train")

    assert failed.returncode != 0
    assert failed.stderr.count("lower learning_rate") == 1
    assert "latentlab/cli.py" not in failed.stderr
    (run,) = (run for run in clone.runs() if run.info.run_id not in before)
    assert run.info.status == "FAILED"
    assert "lower learning_rate" in run.data.tags["reason"]


def test_one_process_continues_the_run_of_two_that_were_stopped(clone, together):
    clone.edit(**SMALL | {"epochs": 1_000_000, "folds": None, "patience": None})
    assert clone.stop(*TORCHRUN, "train") != 0
    (stopped, *_) = clone.runs()
    assert stopped.info.status == "KILLED"

    assert clone.stop("latentlab", "train") == 143
    (continued, *_) = clone.runs()
    assert continued.info.run_id == stopped.info.run_id
    assert continued.info.status == "KILLED"
