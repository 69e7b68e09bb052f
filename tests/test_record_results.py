"""scripts/record_results.py, with generated metrics and runs."""

import runpy
import shutil

import pytest

from latentlab.common.files import read_json, sha256_of, write_json
from latentlab.data.image_set import DatasetInfo
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.yaml_io import read_plain
from latentlab.pipeline.fingerprint import stage_fingerprint
from latentlab.tracking.run import track
from small_budgets import edit_params

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CONTENTS = """
introduction: |
  # Results
sections:
  R3: {title: "R3: a VAE", text: Profile `report-r3`.}
rows:
  elbo:
    section: R3
    quantity: VAE, ELBO
    report: 459
    metric: vae/validation/elbo
    trained_by: vae
    where: {data.name: digits, vae.beta: 1.0}
    command: make repro
  test_elbo:
    section: R3
    quantity: VAE, test ELBO
    report:
    metric: evaluate/test/vae/elbo
    trained_by: vae
    where: {data.name: digits}
    command: make repro
  another_dataset:
    section: R3
    quantity: the same on MNIST
    report:
    metric: vae/validation/elbo
    trained_by: vae
    where: {data.name: mnist}
    command: make repro PROFILE=mnist
  another_metric:
    section: R3
    quantity: unknown
    report:
    metric: vae/validation/unknown
    trained_by: vae
    where: {data.name: digits}
    command: make repro
figures:
  vae_map:
    section: R3
    title: Codes
    sentence: Classes form clusters, as in the report.
    source: outputs/vae/plots/latent_map.png
    stage: vae
    where: {data.name: digits}
literature:
  - {row: elbo, quantity: ELBO, published: "500", source: a paper, protocol: the same}
"""


@pytest.fixture
def project(checkout, repository, monkeypatch, empty_store):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    shutil.copy(empty_store, checkout.home)
    (checkout.root / "docs").mkdir()
    (checkout.root / "docs" / "results.yaml").write_text(CONTENTS)
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


def rows_of(project):
    return read_json(project.root / "docs" / "results.json")["rows"]


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

    assert list(rows_of(project)) == ["elbo"]
    assert "test_elbo: sqlite" in capsys.readouterr().out


def test_a_row_has_the_statistics_of_the_latest_run_of_each_seed(project, repository, capsys):
    for seed, elbo, seconds in ((0, 500.0, 9.0), (1, 520.0, 3.0), (0, 510.0, 4.0)):
        train_vae(project, elbo, seed, seconds)
        record(repository)

    rows = rows_of(project)
    assert list(rows) == ["elbo"]
    row = rows["elbo"]
    assert (row["mean"], row["n"]) == (515.0, 2)
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

    row = rows_of(project)["elbo"]
    assert (row["mean"], row["n"]) == (540.0, 1)


def test_a_row_can_name_a_nested_training_and_related_metrics(project, repository):
    more = "training: prior\n    related: {again: vae/validation/elbo}\n    command:"
    contents = CONTENTS.replace("command:", more, 1)
    (project.root / "docs" / "results.yaml").write_text(contents)
    train_vae(project, 500.0)
    record(repository)

    row = rows_of(project)["elbo"]
    assert row["seconds"] == 6.0
    assert row["runs"]["0"]["related"] == {"again": 500.0}


def test_nothing_is_recorded_for_parameters_without_a_run(project, repository, capsys):
    train_vae(project, 500.0)
    edit_params(project.params, {"gan": {"noise_dim": 32}})
    record(repository)  # vae does not depend on parameters of gan
    edit_params(project.params, {"vae": {"free_bits": 0.5}})

    with pytest.raises(SystemExit, match="no row or figure fits the current outputs"):
        record(repository)
    assert "has no run of vae with these parameters" in capsys.readouterr().out
    assert rows_of(project)["elbo"]["n"] == 1


def test_runs_keep_their_seeds_when_parameters_change_on_which_they_do_not_depend(
    project, repository
):
    train_vae(project, 500.0, seed=1)
    record(repository)
    edit_params(project.params, {"gan": {"noise_dim": 32}, "evaluate": {"samples": 64}})
    train_vae(project, 540.0)
    record(repository)

    assert rows_of(project)["elbo"]["n"] == 2


def test_the_page_shows_rows_figures_and_literature(project, repository):
    source = project.outputs("vae") / "plots" / "latent_map.png"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"picture")
    for seed, elbo in ((0, 500.0), (1, 520.0)):
        train_vae(project, elbo, seed)
        record(repository)

    docs = project.root / "docs"
    page = (docs / "results.md").read_text()
    run = rows_of(project)["elbo"]["run"][:8]
    assert "## R3: a VAE\n\nProfile `report-r3`.\n" in page
    assert f"| VAE, ELBO | 459 | 510 ± 14 | 2 | 1.11 | 3 s | `make repro` | `{run}` |" in page
    assert "| VAE, test ELBO |  | not run |" in page
    assert "![Codes](results/vae_map.png)\n\n**Codes.** Classes form clusters" in page
    assert "| ELBO | 510 ± 14 | 500 | a paper | the same |" in page
    assert (docs / "results" / "vae_map.png").read_bytes() == b"picture"


class TestShippedResults:
    """docs/results.md and its sources."""

    def test_rows_and_figures_name_parameters_that_exist(self, repository):
        params = load_params(repository / "params.yaml").tree()
        contents = read_plain(repository / "docs" / "results.yaml")

        for entry in [*contents["rows"].values(), *contents["figures"].values()]:
            assert set(entry["where"]) <= set(flatten(params))
            assert entry["section"] in contents["sections"]

    def test_the_page_is_current(self, repository):
        docs = repository / "docs"
        page = runpy.run_path(str(repository / "scripts" / "results_page.py"))["page"]

        contents = read_plain(docs / "results.yaml")
        assert (docs / "results.md").read_text() == page(contents, read_json(docs / "results.json"))

    def test_pictures_are_those_that_were_recorded(self, repository):
        docs = repository / "docs"
        figures = read_json(docs / "results.json")["figures"].values()

        assert {each["file"]: each["sha256"] for each in figures} == {
            path.name: sha256_of(path) for path in docs.glob("results/*")
        }
        assert sum(path.stat().st_size for path in docs.glob("results/*")) <= 12e6
