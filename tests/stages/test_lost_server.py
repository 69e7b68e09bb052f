from collections import Counter

import pytest

from latentlab.tracking.run import Run
from mlflow_server import Server, wait_until

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EPOCHS = 12
KILL_AFTER, RESTART_AFTER = 4, 8


@pytest.fixture
def server(tmp_path, empty_store):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, empty_store)
    server.start()
    yield server
    server.kill()


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
    assert "does not answer. The stage goes on" in answer.err
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
