"""scripts/record_results.py, on figures and runs made on the spot."""

import json
import runpy
import shutil

import pytest

from latentlab.common.files import read_json, write_json
from latentlab.data.image_set import DatasetInfo
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
from latentlab.pipeline.fingerprint import stage_fingerprint
from latentlab.tracking.run import track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = """
ours:
  report: 459
  metric: vae/validation/elbo
  trained_by: vae
  where: {data.name: digits, vae.beta: 1.0}
  command: make repro
judged:
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
another_figure:
  report:
  metric: vae/validation/fame
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


def execute(project, elbo, seed=0, seconds=3.0):
    """What is left of the VAE by a run with a seed."""
    text = project.params.read_text()
    before = load_params(project.params).runtime.seed
    project.params.write_text(text.replace(f"seed: {before} ", f"seed: {seed} "))
    params = load_params(project.params)
    assert params == with_values(params, {"runtime.seed": seed})
    write_json(project.outputs("vae") / "metrics.json", {"validation": {"elbo": elbo}})
    with track(project, "vae", "digits", stage_fingerprint(project, "vae", params)) as run:
        run.log_metrics({"seconds": seconds}, step=1)
        with run.nested("prior") as nested:
            nested.log_metrics({"seconds": 2 * seconds}, step=1)


def record(repository):
    runpy.run_path(str(repository / "scripts" / "record_results.py"), run_name="__main__")


def test_figures_that_were_not_measured_again_are_not_recorded(project, repository, capsys):
    """evaluate is older than the VAE that it would be said to judge."""
    write_json(project.outputs("evaluate") / "metrics.json", {"test": {"vae": {"elbo": 1.0}}})
    execute(project, 500.0)
    record(repository)

    assert list(read_json(project.root / "docs" / "results.json")) == ["ours"]
    assert "judged: sqlite" in capsys.readouterr().out


def test_every_seed_counts_once_in_the_rows_that_fit(project, repository, capsys):
    for seed, elbo, seconds in ((0, 500.0, 9.0), (1, 520.0, 3.0), (0, 510.0, 4.0)):
        execute(project, elbo, seed, seconds)
        record(repository)

    results = read_json(project.root / "docs" / "results.json")
    assert list(results) == ["ours"]
    row = results["ours"]
    assert (row["mean"], row["n"], row["report"]) == (515.0, 2, 459)
    assert row["std"] == pytest.approx(50**0.5)
    assert row["command"] == "make repro"
    assert row["seconds"] == 3.5
    assert len({run["run"] for run in row["runs"].values()}) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "ours: 510.0000"


def test_runs_with_other_parameters_are_not_averaged(project, repository):
    execute(project, 500.0, seed=1)
    record(repository)
    text = project.params.read_text()
    project.params.write_text(text.replace("free_bits: 0.0", "free_bits: 0.5"))
    execute(project, 540.0)
    record(repository)

    row = read_json(project.root / "docs" / "results.json")["ours"]
    assert (row["mean"], row["n"]) == (540.0, 1)


def test_a_row_can_be_of_one_of_several_trainings_with_figures_beside(project, repository):
    rows = ROWS.replace("trained_by: vae", "trained_by: vae\n  training: prior", 1)
    rows = rows.replace("command:", "beside: {twice: vae/validation/elbo}\n  command:", 1)
    (project.root / "docs" / "results.yaml").write_text(rows)
    execute(project, 500.0)
    record(repository)

    row = read_json(project.root / "docs" / "results.json")["ours"]
    assert row["seconds"] == 6.0
    assert row["runs"]["0"]["beside"] == {"twice": 500.0}


def test_figures_without_a_run_are_not_recorded(project, repository, capsys):
    execute(project, 500.0)
    text = project.params.read_text().replace("noise_dim: 64", "noise_dim: 32")
    project.params.write_text(text)
    record(repository)  # of another section
    project.params.write_text(text.replace("free_bits: 0.0", "free_bits: 0.5"))

    with pytest.raises(SystemExit, match="nothing to record; run `dvc repro`"):
        record(repository)
    assert "has no run of vae with these parameters" in capsys.readouterr().out
    assert json.loads((project.root / "docs" / "results.json").read_text())["ours"]["n"] == 1
