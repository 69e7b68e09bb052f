import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latentlab.tracking.run import track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STAGE = """
import os, signal, sys, time
from pathlib import Path
from latentlab.common.project import Project
from latentlab.tracking.run import track

with track(Project(*[Path(sys.argv[1])] * 2), "search", "shapes", "fingerprint") as run:
    run.log_epoch({"epoch": 1, "train/loss": 1.0})
    with run.nested("trial 0", "trial") as nested:
        nested.log_epoch({"epoch": 1, "train/loss": 2.0})
        time.sleep(600)
"""


@pytest.fixture
def stage(project, runs):
    """A stage in a separate process, in the middle of its work."""
    process = subprocess.Popen([sys.executable, "-c", STAGE, str(project.root)])
    try:
        runs.wait_until({"search": "RUNNING", "trial 0": "RUNNING"})
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_runs_of_a_stage_are_marked_killed_soon_after_sigkill(stage, runs):
    stage.kill()

    runs.wait_until({"search": "KILLED", "trial 0": "KILLED"}, seconds=20)
    assert runs["search"].data.tags["reason"] == "its process was killed"
    assert runs["search"].data.metrics == {"train/loss": 1.0}
    assert runs["trial 0"].data.metrics == {"train/loss": 2.0}


def test_if_the_recorder_is_killed_too_the_next_stage_marks_the_runs_killed(stage, project, runs):
    os.kill(int(runs["search"].data.tags["pid"]), signal.SIGKILL)
    stage.kill()
    stage.wait()
    assert runs.statuses == {"search": "RUNNING", "trial 0": "RUNNING"}

    with track(project, "train", "shapes", "fingerprint"):
        pass

    assert runs.statuses == {"search": "KILLED", "trial 0": "KILLED", "train": "FINISHED"}
    assert runs["search"].data.tags["reason"] == "its process was killed"


def test_the_runs_of_a_live_stage_stay_running(stage, project, runs):
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal also signals the recorder
        os.kill(int(runs["search"].data.tags["pid"]), number)

    with track(project, "train", "shapes", "fingerprint"):
        pass

    assert runs.statuses == {"search": "RUNNING", "trial 0": "RUNNING", "train": "FINISHED"}


def log(run, epochs):
    """Log parameters and epochs as a stage does."""
    run.log_params({"train": {"l1": 0.5}})
    for epoch in range(1, epochs + 1):
        run.log_epoch({"epoch": epoch, "learning_rate": 0.1, "train/loss": 1 / epoch})


def log_images(run, folder, epochs):
    """Log an image after each epoch as a stage does."""
    for epoch in range(1, epochs + 1):
        Image.new("RGB", (8, 8), (epoch, 0, 0)).save(folder / f"{epoch}.png")
        run.log_image("latent_map", epoch, folder / f"{epoch}.png")


def run_stage(project, stage, fingerprint, epochs, interrupted=False):
    """Log a stage with two folds, perhaps interrupted during the first fold."""
    with track(project, stage, "shapes", fingerprint) as run:
        log(run, epochs)
        log_images(run, project.root, epochs)
        with run.nested("fold 1", "fold") as nested:
            log(nested, epochs)
            if interrupted:
                raise KeyboardInterrupt
        with run.nested("fold 2", "fold") as nested:
            log(nested, epochs)


def test_an_interrupted_run_is_continued_if_there_are_checkpoints(project, runs):
    with pytest.raises(KeyboardInterrupt):
        run_stage(project, "train", "fingerprint", epochs=2, interrupted=True)
    interrupted = {name: runs[name].info.run_id for name in ("train", "fold 1")}
    assert runs.statuses == {"train": "KILLED", "fold 1": "KILLED"}
    project.checkpoints("train", "fingerprint").mkdir(parents=True)

    run_stage(project, "train", "fingerprint", epochs=4)

    assert runs.statuses == dict.fromkeys(["train", "fold 1", "fold 2"], "FINISHED")
    assert {name: runs[name].info.run_id for name in interrupted} == interrupted
    for name in ("train", "fold 1", "fold 2"):
        assert runs.steps(name, "train/loss") == [1, 2, 3, 4]
        assert runs[name].data.metrics["train/loss"] == 0.25
    assert "reason" not in runs["train"].data.tags
    files = [Path(path).name for path in runs.artifacts("train", "images")]
    images = sorted(name.partition("+timestamp")[0] for name in files if name.endswith(".png"))
    assert images == [f"latent_map+step+{epoch}" for epoch in (1, 2, 3, 4)]


def test_a_nested_run_that_took_place_earlier_has_the_times_of_its_epochs(project, runs):
    times = [1.7e9, 1.7e9 + 60, 1.7e9 + 150.5]
    with (
        track(project, "search", "shapes", "fingerprint") as run,
        run.nested("trial 0", "trial", times=times) as nested,
    ):
        for epoch, ended in enumerate(times[1:], 1):
            nested.log_epoch({"epoch": epoch, "train/loss": 1.0}, ended)

    info = runs["trial 0"].info
    assert (info.start_time, info.end_time) == (1_700_000_000_000, 1_700_000_150_500)
    history = runs.client.get_metric_history(info.run_id, "train/loss")
    assert [point.timestamp for point in history] == [1_700_000_060_000, 1_700_000_150_500]
    assert runs["search"].info.end_time > info.end_time


def test_an_interrupted_run_is_left_alone_without_checkpoints_of_its_fingerprint(project, runs):
    with pytest.raises(KeyboardInterrupt):
        run_stage(project, "train", "fingerprint", epochs=1, interrupted=True)

    run_stage(project, "train", "fingerprint", epochs=1)  # there are no checkpoints yet
    project.checkpoints("train", "fingerprint").mkdir(parents=True)
    run_stage(project, "train", "other", epochs=1)
    run_stage(project, "vae", "fingerprint", epochs=1)

    statuses = sorted((run.info.run_name, run.info.status) for run in runs.all())
    finished = [(name, "FINISHED") for name in ("train", "train", "vae")]
    folds = [(f"fold {number}", "FINISHED") for number in (1, 2)] * 3
    assert statuses == sorted([("train", "KILLED"), ("fold 1", "KILLED"), *finished, *folds])
