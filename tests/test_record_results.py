"""scripts/record_results.py, with generated metrics and runs."""

import json
import runpy
import shutil

import pytest

from latentlab.common.files import read_json, write_json
from latentlab.data.image_set import DatasetInfo
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.yaml_io import read_plain
from latentlab.pipeline.fingerprint import stage_fingerprint
from latentlab.tracking.run import track
from small_budgets import edit_params

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = """
elbo:
  report: 459
  metric: vae/validation/elbo
  trained_by: vae
  where: {data.name: digits, vae.beta: 1.0}
  command: make repro
test_elbo:
  report:
  metric: evaluate/test/vae/elbo
  trained_by: vae
  where: {data.name: digits}
  command: make repro
another_dataset:
  report:
  metric: vae/validation/elbo
  trained_by: vae
  where: {data.name: mnist}
  command: make repro PROFILE=mnist
another_metric:
  report:
  metric: vae/validation/unknown
  trained_by: vae
  where: {data.name: digits}
  command: make repro
"""


@pytest.fixture
def project(checkout, repository, monkeypatch, empty_store):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, checkout.home)
    (checkout.root / "docs").mkdir()
    (checkout.root / "docs" / "results.yaml").write_text(ROWS)
    info = DatasetInfo("digits", ["0", "1"], [1, 28, 28], {}, [0.5], [0.3], {}, "")
    info.write(checkout.outputs("fetch"))
    write_json(checkout.outputs("fetch") / "metrics.json", {})
    return checkout


def train_vae(project, elbo, seed=0, seconds=3.0):
    """Write the metrics of the stage vae and log its run."""
    edit_params(project.params, {"runtime": {"seed": seed}})
    params = load_params(project.params)
    write_json(project.outputs("vae") / "metrics.json", {"validation": {"elbo": elbo}})
    with track(project, "vae", "digits", stage_fingerprint(project, "vae", params)) as run:
        run.log_metrics({"seconds": seconds}, step=1)
        with run.nested("prior", "fold") as nested:
            nested.log_metrics({"seconds": 2 * seconds}, step=1)


def record(repository):
    """Run the script."""
    runpy.run_path(str(repository / "scripts" / "record_results.py"), run_name="__main__")


def test_metrics_of_a_stage_without_a_run_of_these_parameters_are_not_recorded(
    project, repository, capsys
):
    """The metrics of evaluate are older than the VAE."""
    write_json(project.outputs("evaluate") / "metrics.json", {"test": {"vae": {"elbo": 1.0}}})
    train_vae(project, 500.0)
    record(repository)

    assert list(read_json(project.root / "docs" / "results.json")) == ["elbo"]
    assert "test_elbo: sqlite" in capsys.readouterr().out


def test_a_row_has_the_statistics_of_the_latest_run_of_each_seed(project, repository, capsys):
    for seed, elbo, seconds in ((0, 500.0, 9.0), (1, 520.0, 3.0), (0, 510.0, 4.0)):
        train_vae(project, elbo, seed, seconds)
        record(repository)

    results = read_json(project.root / "docs" / "results.json")
    assert list(results) == ["elbo"]
    row = results["elbo"]
    assert (row["mean"], row["n"], row["report"]) == (515.0, 2, 459)
    assert row["std"] == pytest.approx(50**0.5)
    assert row["command"] == "make repro"
    assert row["seconds"] == 3.5
    assert len({run["run"] for run in row["runs"].values()}) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "elbo: 510.0000"


def test_runs_with_other_parameters_are_not_averaged(project, repository):
    train_vae(project, 500.0, seed=1)
    record(repository)
    edit_params(project.params, {"vae": {"free_bits": 0.5}})
    train_vae(project, 540.0)
    record(repository)

    row = read_json(project.root / "docs" / "results.json")["elbo"]
    assert (row["mean"], row["n"]) == (540.0, 1)


def test_a_row_can_name_a_nested_training_and_related_metrics(project, repository):
    rows = ROWS.replace("trained_by: vae", "trained_by: vae\n  training: prior", 1)
    rows = rows.replace("command:", "related: {again: vae/validation/elbo}\n  command:", 1)
    (project.root / "docs" / "results.yaml").write_text(rows)
    train_vae(project, 500.0)
    record(repository)

    row = read_json(project.root / "docs" / "results.json")["elbo"]
    assert row["seconds"] == 6.0
    assert row["runs"]["0"]["related"] == {"again": 500.0}


def test_nothing_is_recorded_for_parameters_without_a_run(project, repository, capsys):
    train_vae(project, 500.0)
    edit_params(project.params, {"gan": {"noise_dim": 32}})
    record(repository)  # vae does not depend on parameters of gan
    edit_params(project.params, {"vae": {"free_bits": 0.5}})

    with pytest.raises(SystemExit, match="no row fits the current outputs"):
        record(repository)
    assert "has no run of vae with these parameters" in capsys.readouterr().out
    assert json.loads((project.root / "docs" / "results.json").read_text())["elbo"]["n"] == 1


def test_the_rows_name_parameters_that_exist(repository):
    params = load_params(repository / "params.yaml").tree()
    names = {
        name
        for row in read_plain(repository / "docs" / "results.yaml").values()
        for name in row["where"]
    }

    assert names <= set(flatten(params))
