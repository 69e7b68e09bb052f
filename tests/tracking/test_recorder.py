import os
import signal
import subprocess
import sys

import pytest

from latentlab.tracking.run import track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STAGE = """
import os, signal, sys, time
from pathlib import Path
from latentlab.common.project import Project
from latentlab.tracking.run import track

with track(Project(*[Path(sys.argv[1])] * 2), "search", "shapes", "key") as run:
    run.log_epoch({"epoch": 1, "train/loss": 1.0})
    with run.nested("trial 0") as nested:
        nested.log_epoch({"epoch": 1, "train/loss": 2.0})
        time.sleep(600)
"""


@pytest.fixture
def stage(project, runs):
    """A stage in a process of its own, in the middle of its work."""
    process = subprocess.Popen([sys.executable, "-c", STAGE, str(project.root)])
    try:
        runs.wait_until({"search": "RUNNING", "trial 0": "RUNNING"})
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_stage_that_is_killed_outright_is_ended_within_moments(stage, runs):
    stage.kill()

    runs.wait_until({"search": "KILLED", "trial 0": "KILLED"}, seconds=20)
    assert runs["search"].data.tags["reason"] == "its process was killed"
    assert runs["search"].data.metrics == {"train/loss": 1.0}
    assert runs["trial 0"].data.metrics == {"train/loss": 2.0}


def test_where_the_recorder_is_killed_too_the_next_stage_ends_their_runs(stage, project, runs):
    os.kill(int(runs["search"].data.tags["pid"]), signal.SIGKILL)
    stage.kill()
    stage.wait()
    assert runs.statuses == {"search": "RUNNING", "trial 0": "RUNNING"}

    with track(project, "train", "shapes", "key"):
        pass

    assert runs.statuses == {"search": "KILLED", "trial 0": "KILLED", "train": "FINISHED"}
    assert runs["search"].data.tags["reason"] == "its process was killed"


def test_a_run_that_is_alive_is_left_running(stage, project, runs):
    for number in (signal.SIGINT, signal.SIGTERM):  # as from a terminal, to stage and recorder
        os.kill(int(runs["search"].data.tags["pid"]), number)

    with track(project, "train", "shapes", "key"):
        pass

    assert runs.statuses == {"search": "RUNNING", "trial 0": "RUNNING", "train": "FINISHED"}


def tell(run, epochs):
    run.log_params({"train": {"l1": 0.5}})
    for epoch in range(1, epochs + 1):
        run.log_epoch({"epoch": epoch, "learning_rate": 0.1, "train/loss": 1 / epoch})


def execute(project, stage, key, epochs, interrupted=False):
    """A stage with two folds; it may be interrupted in the middle of the first."""
    with track(project, stage, "shapes", key) as run:
        tell(run, epochs)
        with run.nested("fold 1") as nested:
            tell(nested, epochs)
            if interrupted:
                raise KeyboardInterrupt
        with run.nested("fold 2") as nested:
            tell(nested, epochs)


def test_a_stopped_run_is_continued_where_there_are_checkpoints(project, runs):
    with pytest.raises(KeyboardInterrupt):
        execute(project, "train", "key", epochs=2, interrupted=True)
    stopped = {name: runs[name].info.run_id for name in ("train", "fold 1")}
    assert runs.statuses == {"train": "KILLED", "fold 1": "KILLED"}
    project.checkpoints("train", "key").mkdir(parents=True)

    execute(project, "train", "key", epochs=4)

    assert runs.statuses == dict.fromkeys(["train", "fold 1", "fold 2"], "FINISHED")
    assert {name: runs[name].info.run_id for name in stopped} == stopped
    for name in ("train", "fold 1", "fold 2"):
        assert runs.steps(name, "train/loss") == [1, 2, 3, 4]
        assert runs[name].data.metrics["train/loss"] == 0.25
    assert "reason" not in runs["train"].data.tags  # it did end well


def test_a_stopped_run_stays_as_it_is_where_nothing_is_continued(project, runs):
    with pytest.raises(KeyboardInterrupt):
        execute(project, "train", "key", epochs=1, interrupted=True)

    execute(project, "train", "key", epochs=1)  # there are no checkpoints
    project.checkpoints("train", "key").mkdir(parents=True)
    execute(project, "train", "other", epochs=1)
    execute(project, "vae", "key", epochs=1)

    ended = sorted((run.info.run_name, run.info.status) for run in runs.all())
    finished = [(name, "FINISHED") for name in ("train", "train", "vae")]
    folds = [(f"fold {number}", "FINISHED") for number in (1, 2)] * 3
    assert ended == sorted([("train", "KILLED"), ("fold 1", "KILLED"), *finished, *folds])
