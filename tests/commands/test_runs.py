import json
import shutil

import mlflow
import pytest

from latentlab.params.load import load_params
from latentlab.pipeline.fingerprint import outputs_hash, stage_fingerprint
from latentlab.tracking.run import track

# SQLAlchemy's, for queries of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def store(checkout, empty_store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, checkout.home)
    yield checkout
    mlflow.set_tracking_uri(None)


def execute(project, stage, mse):
    """Write outputs and log a run as a stage does."""
    folder = project.outputs(stage.replace("@", "/"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(f'{{"mse": {mse}}}')
    fingerprint = stage_fingerprint(project, stage, load_params(project.params))
    with track(project, stage, "digits", fingerprint) as run:
        run.log_metrics({"validation": {"mse": mse}}, step=1)
        run.set_tags({"outputs_hash": outputs_hash(folder)})
        with run.nested("fold 1", "fold"):
            pass


def origins(latentlab):
    """Return the match and the MSE of each output."""
    answer = latentlab("runs", "--here", "--json")
    assert answer.code == 0, answer.err
    return {
        each["output"]: (each["match"], each["run"] and each["run"]["metrics"]["validation/mse"])
        for each in json.loads(answer.out)
    }


def edit(project, old, new):
    text = project.params.read_text()
    assert old in text
    project.params.write_text(text.replace(old, new, 1))


def test_every_output_has_the_run_that_wrote_it(store, latentlab):
    for mse in (0.3, 0.2):
        execute(store, "train", mse)
        execute(store, "compare@latent_dim", mse)
    output = store.outputs("train")
    (output / ".gitignore").write_text("/model\n")  # DVC writes it after the stage

    exact = {"outputs/compare/latent_dim": ("exact", 0.2), "outputs/train": ("exact", 0.2)}
    assert origins(latentlab) == exact

    (output / "metrics.json").write_text('{"mse": 0.3}')  # as `dvc checkout` restores them
    assert origins(latentlab)["outputs/train"] == ("exact", 0.3)

    (output / "metrics.json").write_text("{}")
    assert origins(latentlab)["outputs/train"] == ("outputs changed", 0.2)


def test_outputs_are_recognized_after_an_edit_of_their_inputs(store, latentlab):
    execute(store, "train", 0.2)
    edit(store, "  seed: 0", "  seed: 7")

    assert origins(latentlab) == {"outputs/train": ("inputs changed", 0.2)}


def test_outputs_of_a_comparison_that_was_removed_are_recognized(store, latentlab):
    execute(store, "compare@latent_dim", 0.2)
    edit(store, "\n  latent_dim:\n", "\n  dimensions:\n")

    assert origins(latentlab) == {"outputs/compare/latent_dim": ("inputs changed", 0.2)}


def test_outputs_without_a_run_in_the_store_are_listed_with_its_address(
    store, latentlab, empty_store, monkeypatch, tmp_path
):
    execute(store, "train", 0.2)
    other = shutil.copy(empty_store, tmp_path / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")

    assert origins(latentlab) == {"outputs/train": ("", None)}
    assert f"no run in sqlite:///{other}" in latentlab("runs", "--here").out


def test_runs_are_filtered_and_sorted_and_nested_ones_listed_on_demand(store, latentlab):
    for stage, mse in (("train", 0.3), ("vae", 0.2), ("train", 0.1)):
        execute(store, stage, mse)

    def values(*options):
        answer = latentlab("runs", "--json", *options)
        assert answer.code == 0, answer.err
        return [run["metrics"].get("validation/mse") for run in json.loads(answer.out)]

    assert values() == [0.1, 0.2, 0.3]
    assert values("--sort", "-validation/mse") == [0.3, 0.2, 0.1]
    assert values("--filter", "tags.stage = 'train'", "--limit", "1") == [0.1]
    assert values("--nested", "--filter", "tags.kind = 'fold'") == [None] * 3
    assert values("--dataset", "mnist") == []
    table = latentlab("runs").out
    assert table.count("validation/mse 0.") == 3


def test_a_filter_that_mlflow_rejects_is_a_mistake_on_the_command_line(store, latentlab, message):
    execute(store, "train", 0.2)

    answer = latentlab("runs", "--filter", "nonsense")

    assert answer.code == 2
    message("runs/invalid filter", answer.err)


def test_without_a_store_there_are_no_runs(checkout, latentlab, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert json.loads(latentlab("runs", "--json").out) == []
    assert not (checkout.home / "mlflow.db").exists()
