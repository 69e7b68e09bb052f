import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import mlflow
import psutil
import pytest
from PIL import Image

from latentlab.common.project import Project
from latentlab.tracking.run import Run, track
from latentlab.tracking.spool import find_spools
from mlflow_server import Server, wait_until

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EPOCHS = 12
KILL_AFTER, RESTART_AFTER = 4, 8


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    server = Server(tmp_path_factory.mktemp("server"), empty_store)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(tmp_path, monkeypatch, cold_processes, server):
    """A checkout whose runs go to the server, which it waits for up to four seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    yield Project(tmp_path, tmp_path)
    server.answer_again()
    mlflow.set_tracking_uri(None)


def log_the_rest(run, folder):
    """Log one of each kind of data and a nested run, as a stage does."""
    (folder / "plots").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "plots" / "loss.png")
    run.log_params({"train": {"l1": 0.5}})
    for epoch in (3, 4):
        run.log_epoch({"epoch": epoch, "train/loss": 1 / epoch})
        run.log_image("latent_map", epoch, folder / "plots" / "loss.png")
    run.log_metrics({"validation": {"mse": 0.25}}, step=4)
    run.log_table("history", [{"epoch": epoch, "train/loss": 1 / epoch} for epoch in (3, 4)])
    run.log_files(folder / "plots")
    with run.nested("fold 1", "fold") as nested:
        nested.log_epoch({"epoch": 1, "train/loss": 2.0})


def test_what_a_hanging_server_misses_is_kept_and_sent_once_by_sync(
    client, server, latentlab, capsys, message
):
    with track(client, "train", "hangs", "fingerprint") as run:
        for epoch in (1, 2):
            run.log_epoch({"epoch": epoch, "train/loss": 1 / epoch})
        wait_until(lambda: server.runs("hangs") and server.runs("hangs")[0].data.metrics)
        server.hang()
        log_the_rest(run, client.root)
        ending = time.monotonic()
    shutil.rmtree(client.root / "plots")  # as DVC does before it repeats a stage

    assert time.monotonic() - ending < 25
    (spool,) = find_spools(client)
    notes = capsys.readouterr().err.replace(server.uri, "<server>").replace(spool.name, "<name>")
    message("tracking/server does not answer any more", notes)
    server.answer_again()
    assert "runs not sent to their server: 1, in" in latentlab("doctor").out
    assert latentlab("sync").out == f"{spool.name}\n"
    assert latentlab("sync").err == "nothing to send\n"

    run, nested = server.runs("hangs")
    assert run.info.status == nested.info.status == "FINISHED"
    assert run.info.start_time <= nested.info.start_time <= run.info.end_time
    assert run.data.params == {"train.l1": "0.5"}
    assert server.steps(run, "train/loss") == {1: 1, 2: 1, 3: 1, 4: 1}
    assert server.steps(run, "validation/mse") == {4: 1}
    assert server.steps(nested, "train/loss") == {1: 1}
    assert server.images(run) == ["latent_map step 3", "latent_map step 4"]
    table = server.client.load_table(run.info.experiment_id, "history.json", [run.info.run_id])
    assert table["epoch"].tolist() == [3, 4]
    (plot,) = server.client.list_artifacts(run.info.run_id, "plots")
    assert plot.path == "plots/loss.png"


STAGE = """
import signal, sys, time
from pathlib import Path
from latentlab.common.project import Project
from latentlab.tracking.run import track

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
with track(Project(*[Path(sys.argv[1])] * 2), "vae", "interrupted", "fingerprint") as run:
    run.log_epoch({"epoch": 1, "train/loss": 1.0})
    input()
    run.log_epoch({"epoch": 2, "train/loss": 0.5})
    time.sleep(600)
"""


def test_ctrl_c_works_at_once_while_the_server_hangs_and_the_next_stage_sends_the_run(
    client, server
):
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(client.root)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: server.runs("interrupted") and server.runs("interrupted")[0].data.metrics)
    server.hang()
    stage.stdin.write(b"go on\n")
    stage.stdin.close()
    (spool,) = find_spools(client)
    wait_until(lambda: len(list(spool.read())) == 4)  # start, two epochs and the missing end
    recorder = psutil.Process(stage.pid).children(recursive=True)

    os.killpg(stage.pid, signal.SIGINT)
    interrupted = time.monotonic()
    stage.wait(timeout=60)

    assert time.monotonic() - interrupted < 4
    assert not psutil.wait_procs(recorder, timeout=2)[1]
    server.answer_again()
    with track(client, "train", "interrupted", "fingerprint"):
        pass
    first, second = server.runs("interrupted")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert server.steps(first, "train/loss") == {1: 1, 2: 1}
    assert find_spools(client) == []


@pytest.mark.usefixtures("cold_processes")
def test_a_training_outlives_its_server_and_every_metric_is_logged_once(bench, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    bench.edit({"train.epochs": EPOCHS, "train.patience": EPOCHS, "train.folds": None})
    log_epoch = Run.log_epoch

    def replace_the_server(run, record):
        log_epoch(run, record)
        if record["epoch"] == KILL_AFTER:
            wait_until(lambda: any(run.data.metrics for run in server.runs("digits")))
            server.kill()
        if record["epoch"] == RESTART_AFTER:
            server.start()

    monkeypatch.setattr(Run, "log_epoch", replace_the_server)
    answer = bench.run("train")

    assert answer.code == 0
    assert "does not answer. The stage continues" in answer.err
    assert "answers again" in answer.err
    (run,) = server.runs("digits")
    assert run.info.status == "FINISHED"
    client = server.client
    for metric in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, metric)
        assert max(Counter((point.step, point.value) for point in points).values()) == 1
    assert server.steps(run, "train/mse") == dict.fromkeys(range(1, EPOCHS + 1), 1)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"metrics.json", "history.json", "images", "params.yaml", "plots"} <= files
    assert len(server.images(run)) == 2 * 7  # after epoch 1 and every second one
    models = client.search_logged_models([run.info.experiment_id])
    assert {model.name for model in models} == {"autoencoder", "autoencoder-decoder"}
    assert len(models) == 2
    assert not list((bench.project.home / ".latentlab" / "spool").iterdir())
