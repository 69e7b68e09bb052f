"""The real pipeline in a clone of this checkout: real DVC, real MLflow, real images, small budgets.

One clone is built once and the tests tell one story on it, in their order.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from ruamel.yaml import YAML

from crafting import copy_checkout
from small_budgets import SHAPES, SMALL, draw_shapes, edit_params

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

COMPARISONS = ["compare@latent_dim", "compare@pruning"]
MODELS = ["train", "denoise", "finetune", "reference", "vae", "gan"]
STAGES = ["fetch", "search", *COMPARISONS, *MODELS, "evaluate"]
VARIANTS = list(SMALL["compare"]["pruning"]["values"])


class Clone:
    """A temporary clone of the checkout under test, with commands run as a person would."""

    def __init__(self, root, temporary):
        self.root = root
        self.temporary = temporary
        self.started = []
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "DVC_", "LATENTLAB_", "GIT_"))
        } | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
        }

    def __call__(self, *command, expect=0):
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def edit(self, changes):
        """Change values of params.yaml, keeping everything else."""
        edit_params(self.root / "params.yaml", changes)

    def repro(self):
        """Run `dvc repro`; return the stages that really ran, in their order."""
        return re.findall(r"Running stage '([\w@]+)'", self("dvc", "repro"))

    def start(self, *command):
        """Start a command and leave it running, until the tests are over at the latest."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def stop(self):
        """End what was started and is still there."""
        for process in self.started:
            process.kill()

    @property
    def client(self):
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def runs(self, dataset):
        """The top-level MLflow runs of a dataset, newest first."""
        experiment = self.client.get_experiment_by_name(f"latentlab/{dataset}")
        found = self.client.search_runs([experiment.experiment_id])
        return [run for run in found if "mlflow.parentRunId" not in run.data.tags]

    def newest(self, dataset="digits"):
        """The newest top-level run of each name."""
        return {run.info.run_name: run for run in reversed(self.runs(dataset))}

    def nested(self, parent):
        """The runs nested in another, by name."""
        children = self.client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        )
        return {child.info.run_name: child for child in children}

    def lock(self):
        return YAML(typ="safe").load(self.root / "dvc.lock")["stages"]

    def metrics(self, stage):
        return json.loads((self.root / "outputs" / stage / "metrics.json").read_text())


@pytest.fixture(scope="module")
def clone(repository, tmp_path_factory):
    root = tmp_path_factory.mktemp("clone")
    # the lock of outputs that are made here
    copy_checkout(repository, root, leave_out=["dvc.lock"])
    clone = Clone(root, tmp_path_factory.mktemp("temporary"))
    for command in ("init -q", "add -A", "-c user.name=t -c user.email=t@t commit -qm clone"):
        clone("git", *command.split())
    clone("dvc", "pull", "data.dvc")
    clone.edit(SMALL)
    assert sorted(clone.repro()) == sorted(STAGES)
    yield clone
    clone.stop()


def wait_until(condition):
    """Poll until something is true, and return it."""
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_second_repro_does_nothing(clone):
    assert clone.repro() == []


def test_no_stage_leaves_temporary_files(clone):
    assert list(clone.temporary.iterdir()) == []


def test_every_stage_is_one_finished_run_with_parameters_metrics_and_pictures(clone):
    runs = {run.info.run_name: run for run in clone.runs("digits")}

    assert sorted(runs) == sorted(STAGES)
    commit = clone("git", "rev-parse", "HEAD").strip()
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics
        assert any(
            param.startswith(("data.", f"{name.replace('@', '.')}.")) for param in run.data.params
        )
        assert run.data.tags["git_commit"] == commit
        assert run.data.tags["stage"] == name
        assert len(run.data.tags["data_hash"]) == 64
        assert run.inputs.dataset_inputs[0].dataset.name == "digits"
        assert clone.client.list_artifacts(run.info.run_id, "plots"), name
        models = run.outputs.model_outputs if run.outputs else []
        assert bool(models) == (name in MODELS)


def test_figures_in_mlflow_are_those_in_metrics_json(clone):
    run = next(run for run in clone.runs("digits") if run.info.run_name == "evaluate")
    test = clone.metrics("evaluate")["test"]

    assert run.data.metrics["test/autoencoder/mse"] == test["autoencoder"]["mse"]
    assert run.data.metrics["test/classifier/accuracy"] == test["classifier"]["accuracy"]
    assert 0 < test["autoencoder"]["mse"] < 0.2
    assert 0 < test["classifier"]["accuracy"] <= 1


def test_spoilt_images_are_judged_for_every_method_and_severity(clone):
    test = clone.metrics("evaluate")["test"]
    with (clone.root / "outputs" / "evaluate" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))

    methods = ["nothing", "autoencoder", "bottleneck", "unet", "wiener"]
    corrupted = [("gaussian", "0.2"), ("gaussian", "0.4"), ("occlusion", "0.2")]
    told = [(row["kind"], row["severity"], row["method"]) for row in rows]
    assert told == [(*each, method) for each in corrupted for method in methods]
    for row in rows:
        figures = test["robustness"][row["kind"]][row["severity"]][row["method"]]
        assert figures == {term: float(row[term]) for term in ("mse", "accuracy")}
    noisy = test["robustness"]["gaussian"]["0.4"]
    assert noisy["nothing"]["mse"] == pytest.approx(0.16, rel=0.05)
    assert noisy["wiener"]["mse"] < 0.05
    assert set(test["denoise"]) == {"bottleneck", "unet"}
    assert test["denoise"]["unet"]["wiener_mse"] < test["denoise"]["unet"]["corrupted_mse"]


def test_latent_spaces_are_judged_against_the_principal_components_of_pixels(clone):
    test = clone.metrics("evaluate")["test"]

    for name in ("autoencoder", "vae"):
        latent, pixels = test[name]["latent"], test[name]["pixel_pca"]["latent"]
        assert 0.05 < latent["knn_accuracy"] <= 1, name
        assert 0.05 < latent["probe_accuracy"] <= 1, name
        assert pixels["knn_accuracy"] > 0.8, name
        assert set(pixels) < set(latent), name
        assert pixels["explained_variance"]["pca_2d"] < pixels["explained_variance"]["pca_3d"] < 1
    assert test["autoencoder"]["latent"]["trustworthiness"]["tsne_2d"] > 0.8
    drawn = {path.name for path in (clone.root / "outputs" / "evaluate" / "plots").iterdir()}
    assert {"autoencoder_tsne_3d.png", "vae_latent_grid.png", "robustness_gaussian.png"} <= drawn
    assert sum(name.endswith(".gif") for name in drawn) == 4


def test_generators_are_judged_alike_above_the_floor_of_real_images(clone):
    generators = clone.metrics("evaluate")["test"]["generators"]

    assert list(generators) == ["gan", "vae", "autoencoder_kde", "real"]
    floor = generators["real"]["classifier_frechet_distance"]
    for name in ("gan", "vae", "autoencoder_kde"):
        judged = generators[name]
        assert set(judged) == set(generators["real"])
        assert judged["classifier_frechet_distance"] > floor
        assert judged["samples"] == 64
        assert sum(judged["class_shares"].values()) == pytest.approx(1)
    assert generators["real"]["precision"] > 0.6
    assert not any(judged["memorized"] for judged in generators.values())
    judged = clone.metrics("gan")["validation"]["classifier_frechet_distance"]
    history = (clone.root / "outputs" / "gan" / "history.csv").read_text()
    assert str(judged) in history
    drawn = {path.name for path in (clone.root / "outputs" / "gan" / "plots").iterdir()}
    assert {"training.gif", "frechet.png", "walks.png", "gradients.png"} <= drawn


def test_the_figures_of_a_likelihood_stand_under_its_name(clone):
    vae = clone.metrics("evaluate")["test"]["vae"]

    bounds = vae["gaussian"]
    assert bounds["elbo"] == pytest.approx(bounds["log_likelihood"] - bounds["kl"])
    assert bounds["iwae"] > bounds["iwae_elbo"]
    assert 0 <= bounds["active_units"] <= 8


def test_few_labels_are_judged_for_every_way(clone):
    labels = clone.metrics("finetune")["labels"]

    assert list(labels) == ["4", "all"]
    for ways in labels.values():
        assert list(ways) == ["frozen", "fine_tuned", "scratch"]
        assert all(figures["n"] == 2 and figures["std"] >= 0 for figures in ways.values())
    runs = clone.nested(clone.newest()["finetune"])
    assert len(runs) == 13
    assert clone.metrics("finetune")["scratch_baseline"]["epochs"] == 2
    assert "4 labels, from scratch, seed 1" in runs


def test_search_trials_are_nested_runs(clone):
    trials = clone.nested(clone.newest()["search"])

    assert set(trials) == {"trial 0", "trial 1"}
    assert all("train.learning_rate" in trial.data.params for trial in trials.values())


@pytest.mark.parametrize(("name", "variants"), [("latent_dim", "23"), ("pruning", VARIANTS)])
def test_the_values_of_a_comparison_are_nested_runs_and_rows(clone, name, variants):
    nested = clone.nested(clone.newest()[f"compare@{name}"])
    metrics = clone.metrics(f"compare/{name}")
    with (clone.root / "outputs" / "compare" / name / "table.csv").open() as file:
        table = {row["value"]: row for row in csv.DictReader(file)}

    assert list(metrics) == list(table) == list(variants)
    assert set(nested) == set(variants)
    for variant, run in nested.items():
        assert run.info.status == "FINISHED"
        assert run.data.params["epochs"] == "1"
        mse = metrics[variant]["validation"]["mse"]
        assert run.data.metrics["validation/mse"] == mse == float(table[variant]["best_mse"])
        assert metrics[variant]["epochs"] == 1
    pictures = {path.name for path in (clone.root / "outputs/compare" / name / "plots").iterdir()}
    of_dimensions = ["values.png", "maps.png"] if name == "latent_dim" else []
    assert pictures == {"curves.png", *of_dimensions}


def test_variants_differ_in_what_is_compared_alone(clone):
    nested = clone.nested(clone.newest()["compare@latent_dim"])
    two, three = (nested[name].data.params for name in ("2", "3"))

    assert {name for name in two if two[name] != three[name]} == {"model.latent_dim"}
    pruned = clone.metrics("compare/pruning")
    assert "sparsity" not in pruned["none"]
    assert pruned["half"]["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_dvc_shows_metrics_params_and_plots(clone):
    shown = json.loads(clone("dvc", "metrics", "show", "--json"))
    files = shown[""]["data"]
    assert set(files) == {f"outputs/{s.replace('@', '/')}/metrics.json" for s in STAGES}

    page = clone("dvc", "plots", "show").strip().splitlines()[-1].removeprefix("file://")
    html = Path(page).read_text()
    assert "autoencoder: mean squared error" in html
    assert "confusion" in html
    assert "DCGAN: losses" in html
    for table, line in (("denoise/history", "denoiser"), ("evaluate/robustness", "method")):
        with (clone.root / "outputs" / f"{table}.csv").open() as file:
            drawn = {row[line] for row in csv.DictReader(file)}
        assert all(f'"{line}": "{name}"' in html for name in drawn)


def test_two_runs_give_the_same_hashes_for_every_output(clone):
    """Of stages that train, draw and search; of all of them in the slow test below."""
    before = clone.lock()
    chosen = ("search", "gan")
    assert "Running stage" in clone("dvc", "repro", "--force", "--single-item", *chosen)

    assert clone.lock() == before


@pytest.mark.slow
def test_two_runs_of_all_stages_give_the_same_hashes(clone):
    before = clone.lock()
    clone("dvc", "repro", "--force")

    assert clone.lock() == before


def test_no_output_holds_a_path_or_a_run_id(clone):
    run_ids = [run.info.run_id for run in clone.runs("digits")]
    texts = {
        path: path.read_text()
        for path in (clone.root / "outputs").rglob("*")
        if path.suffix in (".json", ".yaml", ".csv")
    }

    assert len(texts) > 10
    for path, text in texts.items():
        assert str(clone.root) not in text, path
        assert not any(run_id in text for run_id in run_ids), path


def test_editing_a_section_runs_its_stage_and_what_depends_on_it_alone(clone):
    clone.edit({"gan": {"learning_rate": 0.0003}})
    assert clone.repro() == ["gan", "evaluate"]

    clone.edit({"runtime": {"threads": 2}})
    assert clone.repro() == []

    comparisons = SMALL["compare"]
    longer = comparisons["latent_dim"] | {"values": [2, 3, 4]}
    clone.edit({"compare": comparisons | {"latent_dim": longer}})
    assert set(json.loads(clone("dvc", "status", "--json"))) == {"compare@latent_dim"}


def test_undoing_an_edit_restores_everything_from_the_cache(clone):
    runs = len(clone.runs("digits"))

    clone.edit({name: SMALL[name] for name in ("gan", "runtime", "compare")})

    assert clone.repro() == []
    assert len(clone.runs("digits")) == runs


def test_editing_the_gan_s_model_does_not_touch_training(clone):
    model = clone.root / "src" / "latentlab" / "models" / "gan.py"
    original = model.read_text()
    model.write_text(original + "\n# edited\n")
    changed = json.loads(clone("dvc", "status", "--json"))
    model.write_text(original)

    assert set(changed) == {"gan", "evaluate"}


def test_an_experiment_in_a_copy_leaves_its_run_beside_the_others(clone):
    changed = ("--name", "slower-gan", "-S", "gan.learning_rate=0.0001")
    clone("dvc", "exp", "run", "--temp", *changed, "gan")

    newest = clone.newest()
    assert newest["gan"].data.params["gan.learning_rate"] == "0.0001"
    assert newest["gan"].data.tags["dvc_exp_name"] == "slower-gan"
    assert "slower-gan" in clone("dvc", "exp", "show", "--csv")


def test_the_gate_judges_what_the_pipeline_wrote(clone):
    for baseline in (clone.root / "baselines").glob("*.json"):
        baseline.unlink()
    assert "no baseline" in clone("latentlab", "gate", expect=2)

    clone("latentlab", "gate", "--accept")
    assert "gate passed" in clone("latentlab", "gate")

    path = clone.root / "baselines" / "digits.json"
    baseline = json.loads(path.read_text())
    baseline["metrics"]["evaluate/test/autoencoder/mse"]["mean"] /= 2
    path.write_text(json.dumps(baseline))
    told = clone("latentlab", "gate", expect=1)
    assert "evaluate/test/autoencoder/mse got worse: from" in told


@pytest.mark.slow
def test_ten_times_the_learning_rate_fails_the_gate_until_it_is_undone(clone):
    """Of a training that is long enough; of two epochs the larger rate would make more."""
    before = {"epochs": 2, "learning_rate": "search", "optimizer": "search"}
    clone.edit({"train": {"epochs": 12, "learning_rate": 0.004, "optimizer": "adamw"}})
    clone.repro()
    clone("latentlab", "gate", "--accept")
    runs = len(clone.runs("digits"))

    clone.edit({"train": {"learning_rate": 0.04}})
    assert "train" in clone.repro()
    told = clone("latentlab", "gate", expect=1)
    assert re.search(r"evaluate/test/\S+ got worse: from", told)

    clone.edit({"train": {"learning_rate": 0.004}})
    trained = len(clone.runs("digits"))
    assert clone.repro() == []
    assert trained == len(clone.runs("digits")) > runs
    assert "gate passed" in clone("latentlab", "gate")
    clone.edit({"train": before})
    assert clone.repro() == []


def test_a_mistake_in_params_stops_everything_before_it_starts(clone):
    path = clone.root / "params.yaml"
    original = path.read_text()
    path.write_text(original.replace("  epochs: 2", "  epochs: two", 1))
    runs = len(clone.runs("digits"))

    told = clone("latentlab", "train", expect=2)
    path.write_text(original)

    assert re.search(r"params.yaml:\d+: train.epochs = 'two'", told)
    assert "Traceback" not in told
    assert len(clone.runs("digits")) == runs


def test_a_stage_that_fails_says_why_in_its_run(clone):
    weights = clone.root / "outputs" / "train" / "model" / "model.json"
    description = weights.read_text()
    weights.unlink()
    assert "run `dvc repro`" in clone("latentlab", "finetune", expect=4)
    weights.write_text(description)

    failed = clone.newest()["finetune"]
    assert failed.info.status == "FAILED"
    assert "run `dvc repro`" in failed.data.tags["reason"]


def test_a_killed_stage_goes_on_where_it_stood_and_never_stays_running(clone):
    clone.edit({"vae": {"epochs": 5000}})
    killed = clone.start("latentlab", "vae")
    wait_until(lambda: list(clone.root.glob(".latentlab/checkpoints/vae-*/training-cpu.pt")))
    killed.kill()
    killed.communicate(timeout=60)
    wait_until(lambda: clone.newest()["vae"].info.status == "KILLED")
    run = clone.newest()["vae"]
    before = epochs_of(clone, run)

    terminated = clone.start("latentlab", "vae")
    wait_until(lambda: epochs_of(clone, run) > before)
    terminated.send_signal(signal.SIGTERM)
    _, told = terminated.communicate(timeout=60)

    assert terminated.returncode == 143, told
    newest = clone.newest()["vae"]
    assert newest.info.run_id == run.info.run_id
    assert newest.info.status == "KILLED"
    history = clone.client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == list(range(1, len(history) + 1))


def epochs_of(clone, run):
    return len(clone.client.get_metric_history(run.info.run_id, "train/loss"))


@pytest.mark.slow
def test_a_folder_of_colour_pictures_goes_through_by_one_line(clone):
    draw_shapes(clone.root / "data" / "shapes", of_each=30)
    clone("dvc", "add", "data")
    clone.edit(SMALL | {"data": {"name": "shapes", "image_size": 32}})

    assert sorted(clone.repro()) == sorted(STAGES)

    assert {run.info.run_name for run in clone.runs("shapes")} == set(STAGES)
    info = json.loads((clone.root / "outputs" / "fetch" / "dataset.json").read_text())
    assert info["classes"] == sorted(SHAPES)
    assert info["image_shape"] == [3, 32, 32]
    assert sum(info["sizes"].values()) == 90
