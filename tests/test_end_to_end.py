"""The whole pipeline with small budgets in a clone of the repository, run by DVC.

All tests of this module share one clone and depend on their order.
"""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from ruamel.yaml import YAML

from crafting import copy_checkout, name_of
from latentlab.gate.baseline import read_baseline, write_baseline
from latentlab.pipeline.headlines import headline_metrics
from small_budgets import SHAPES, SMALL, draw_shapes, edit_params
from warm_commands import warm_commands

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODELS = ["train", "denoise", "finetune", "reference", "vae", "gan"]
STAGES = ["fetch", "search", "compare@latent_dim", *MODELS, "evaluate", "report"]


class Clone:
    """A temporary clone of the repository, in which commands run as in a shell.

    Most of them are warm commands. Tests in which a new process matters use the installed ones.
    """

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
        self.warm_environment = self.environment

    def __call__(self, *command, expect=0, environment=None):
        """Run a command, check its exit code and return its output."""
        environment = environment or self.warm_environment
        result = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True
        )
        assert result.returncode == expect, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def edit(self, changes):
        """Change values of params.yaml; keep everything else."""
        edit_params(self.root / "params.yaml", changes)

    def repro(self):
        """Run `dvc repro` and return the stages that were executed, in order."""
        return re.findall(r"Running stage '([\w@]+)'", self("dvc", "repro"))

    def changed(self):
        """Return the stages whose dependencies or parameters have changed."""
        return set(json.loads(self("dvc", "status", "--json")))

    def start(self, *command):
        """Start an installed command in the background."""
        process = subprocess.Popen(
            command, cwd=self.root, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def stop(self):
        """Kill all commands in the background."""
        for process in self.started:
            process.kill()

    @property
    def client(self):
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def runs(self, dataset):
        """Return the top-level MLflow runs of a dataset, newest first."""
        experiment = self.client.get_experiment_by_name(f"latentlab/{dataset}")
        runs = self.client.search_runs([experiment.experiment_id])
        return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    def newest(self, dataset="digits"):
        """Return the newest run of each stage."""
        return {name_of(run): run for run in reversed(self.runs(dataset))}

    def nested(self, parent):
        """Return the nested runs of a run by name."""
        children = self.client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        )
        return {child.info.run_name: child for child in children}

    def lock(self):
        """Return the stages in dvc.lock."""
        return YAML(typ="safe").load(self.root / "dvc.lock")["stages"]

    def metrics(self, stage):
        return json.loads((self.root / "outputs" / stage / "metrics.json").read_text())

    def table(self, path):
        """Return the rows of a CSV file in outputs/."""
        with (self.root / "outputs" / path).open() as file:
            return list(csv.DictReader(file))

    def plots(self, stage):
        """Return the names of the plots of a stage."""
        return {path.name for path in (self.root / "outputs" / stage / "plots").iterdir()}


@pytest.fixture(scope="module")
def clone(repository, tmp_path_factory):
    root = tmp_path_factory.mktemp("clone")
    # without the lock file, whose outputs are not in the clone
    copy_checkout(repository, root, leave_out=["dvc.lock"])
    clone = Clone(root, tmp_path_factory.mktemp("temporary"))
    for command in ("init -q", "add -A", "-c user.name=t -c user.email=t@t commit -qm clone"):
        clone("git", *command.split())
    clone.edit(SMALL)
    with warm_commands(clone.environment) as folder:
        path = f"{folder}{os.pathsep}{clone.environment['PATH']}"
        clone.warm_environment = clone.environment | {"PATH": path}
        clone("dvc", "pull", "data.dvc")
        assert sorted(clone.repro()) == sorted(STAGES)
        yield clone
        clone.stop()


def wait_until(condition):
    """Poll until a condition is true."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_second_repro_executes_no_stage(clone):
    assert clone.repro() == []


def test_every_stage_is_one_finished_run_with_parameters_metrics_and_plots(clone):
    runs = {name_of(run): run for run in clone.runs("digits")}

    assert sorted(runs) == sorted(STAGES)
    commit = clone("git", "rev-parse", "HEAD").strip()
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        sections = ("dataset.", "data.", f"{name.replace('@', '.')}.")
        assert any(param.startswith(sections) for param in run.data.params)
        assert run.data.tags["git_commit"] == commit
        assert run.data.tags["stage"] == name
        assert len(run.data.tags["data_hash"]) == 64
        assert run.info.run_name.startswith(name)
        assert f"dvc repro {name}" in run.data.tags["mlflow.note.content"]
        artifacts = {each.path for each in clone.client.list_artifacts(run.info.run_id)}
        written = {"index.html", "explorer.html"} if name == "report" else {"plots", "metrics.json"}
        assert written | {"params.yaml", "git_diff.patch"} <= artifacts, name
        contexts = {each.tags[0].value for each in run.inputs.dataset_inputs}
        assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"digits"}
        assert contexts <= {"training", "validation", "testing"}
        assert ("testing" in contexts) == (name in ("fetch", "evaluate", "report"))


def test_every_model_is_logged_with_its_own_metrics(clone):
    experiment = clone.client.get_experiment_by_name("latentlab/digits").experiment_id
    models = {each.name: each for each in clone.client.search_logged_models([experiment])}
    metrics = {
        name: {metric.key: metric.value for metric in model.metrics or []}
        for name, model in models.items()
    }
    test = clone.metrics("evaluate")["test"]
    validation = {name: clone.metrics(name)["validation"] for name in ("train", "vae", "reference")}

    decoders = {"autoencoder-decoder", "vae-decoder"}
    assert set(models) - decoders == {
        *("autoencoder", "vae", "classifier", "reference", "generator"),
        *("denoiser-bottleneck", "denoiser-unet"),
    }
    assert {name for name in models if not metrics[name]} == decoders <= set(models)
    assert metrics["autoencoder"]["validation/mse"] == validation["train"]["mse"]
    assert metrics["autoencoder"]["test/autoencoder/mse"] == test["autoencoder"]["mse"]
    assert metrics["vae"]["validation/mse"] == validation["vae"]["mse"]
    assert metrics["reference"]["test/reference/accuracy"] == test["reference"]["accuracy"]
    distance = "classifier_frechet_distance"
    generated = metrics["generator"][f"test/generators/gan/{distance}"]
    assert generated == test["generators"]["gan"][distance]
    for name, each in clone.metrics("denoise").items():
        assert metrics[f"denoiser-{name}"] == {
            "validation/mse": each["validation"]["mse"],
            f"test/denoise/{name}/mse": test["denoise"][name]["mse"],
        }
    evaluated = clone.client.get_run(clone.newest()["evaluate"].info.run_id).inputs.model_inputs
    assert {each.model_id for each in evaluated} == {
        model.model_id for name, model in models.items() if name not in decoders
    }


def test_metrics_in_mlflow_equal_those_in_metrics_json(clone):
    run = clone.newest()["evaluate"]
    test = clone.metrics("evaluate")["test"]

    assert run.data.metrics["test/autoencoder/mse"] == test["autoencoder"]["mse"]
    assert run.data.metrics["test/classifier/accuracy"] == test["classifier"]["accuracy"]
    assert 0 < test["autoencoder"]["mse"] < 0.2
    assert 0 < test["classifier"]["accuracy"] <= 1


def test_mlflow_has_headline_metrics_and_learning_curves_only(clone):
    headlines, curves = set(), {"seconds"}
    for stage, run in clone.newest().items():
        if stage == "report":  # it has no metrics
            continue
        folder = stage.replace("@", "/")
        expected = headline_metrics(stage, clone.metrics(folder))
        assert expected.items() <= run.data.metrics.items()
        headlines |= set(expected)
        if (clone.root / "outputs" / folder / "history.csv").exists() and stage != "denoise":
            curves |= set(clone.table(f"{folder}/history.csv")[0])
        assert set(run.data.metrics) <= headlines | curves, stage

    assert len(headlines) <= 40


def test_tables_are_logged_so_that_mlflow_can_show_them(clone):
    runs = clone.newest()
    for stage, tables in {
        "search": ["trials"],
        "compare@latent_dim": ["table"],
        "denoise": ["history"],
        "finetune": ["history", "label_efficiency", "trials"],
        "evaluate": ["confusion", "robustness"],
    }.items():
        for name in tables:
            rows = clone.table(f"{stage.replace('@', '/')}/{name}.csv")
            path = clone.client.download_artifacts(runs[stage].info.run_id, f"{name}.json")
            table = json.loads(Path(path).read_text())
            assert table["columns"] == list(rows[0]), (stage, name)
            assert len(table["data"]) == len(rows)


def test_robustness_is_measured_for_every_corruption_severity_and_method(clone):
    test = clone.metrics("evaluate")["test"]
    rows = clone.table("evaluate/robustness.csv")

    methods = ["identity", "autoencoder", "bottleneck", "unet", "wiener"]
    corruptions = [("gaussian", "0.2"), ("gaussian", "0.4"), ("occlusion", "0.2")]
    measured = [(row["corruption"], row["severity"], row["method"]) for row in rows]
    assert measured == [(*each, method) for each in corruptions for method in methods]
    for row in rows:
        metrics = test["robustness"][row["corruption"]][row["severity"]][row["method"]]
        assert metrics == {name: float(row[name]) for name in ("mse", "accuracy")}
    noisy = test["robustness"]["gaussian"]["0.4"]
    assert noisy["identity"]["mse"] == pytest.approx(0.16, rel=0.05)
    assert noisy["wiener"]["mse"] < 0.05
    assert set(test["denoise"]) == {"bottleneck", "unet"}
    assert test["denoise"]["unet"]["wiener_mse"] < test["denoise"]["unet"]["corrupted_mse"]


def test_latent_spaces_are_compared_with_principal_components_of_the_pixels(clone):
    test = clone.metrics("evaluate")["test"]

    for name in ("autoencoder", "vae"):
        latent, pixels = test[name]["latent"], test[name]["pixel_pca"]["latent"]
        assert 0.05 < latent["knn_accuracy"] <= 1, name
        assert 0.05 < latent["probe_accuracy"] <= 1, name
        assert pixels["knn_accuracy"] > 0.8, name
        assert set(pixels) < set(latent), name
        assert pixels["explained_variance"]["pca_2d"] < pixels["explained_variance"]["pca_3d"] < 1
    assert test["autoencoder"]["latent"]["trustworthiness"]["tsne_2d"] > 0.8
    plots = clone.plots("evaluate")
    assert {"autoencoder_tsne_3d.png", "vae_latent_grid.png", "robustness_gaussian.png"} <= plots
    assert sum(name.endswith(".gif") for name in plots) == 4


def test_all_generators_have_the_same_metrics_as_the_real_data_baseline(clone):
    generators = clone.metrics("evaluate")["test"]["generators"]

    assert list(generators) == ["gan", "vae", "autoencoder_kde", "real", "pixel_gaussian"]
    baseline = generators["real"]["classifier_frechet_distance"]
    for name in ("gan", "vae", "autoencoder_kde"):
        metrics = generators[name]
        assert set(metrics) == set(generators["real"])
        assert metrics["classifier_frechet_distance"] > baseline
        assert metrics["samples"] == 64
        assert sum(metrics["class_shares"].values()) == pytest.approx(1)
    assert generators["real"]["precision"] > 0.6
    del generators["pixel_gaussian"]  # only its distance is measured
    assert not any(metrics["memorized"] for metrics in generators.values())


def test_the_selected_generator_is_one_of_the_evaluated_epochs(clone):
    best = clone.metrics("gan")["validation"]["classifier_frechet_distance"]

    history = [
        row["validation/classifier_frechet_distance"] for row in clone.table("gan/history.csv")
    ]
    assert best == min(float(distance) for distance in history if distance)
    assert {"training.gif", "frechet.png", "walks.png", "gradients.png"} <= clone.plots("gan")


def test_likelihood_bounds_are_grouped_by_likelihood(clone):
    vae = clone.metrics("evaluate")["test"]["vae"]

    bounds = vae["gaussian"]
    assert bounds["elbo"] == pytest.approx(bounds["log_likelihood"] - bounds["kl"])
    assert bounds["iwae"] > bounds["iwae_elbo"]
    assert 0 <= bounds["active_units"] <= 8


def test_label_efficiency_is_measured_for_every_method(clone):
    efficiency = clone.metrics("finetune")["label_efficiency"]

    assert list(efficiency) == ["4", "all"]
    for methods in efficiency.values():
        assert list(methods) == ["frozen", "fine_tuned", "scratch"]
        assert all(accuracy["n"] == 2 and accuracy["std"] >= 0 for accuracy in methods.values())
    runs = clone.nested(clone.newest()["finetune"])
    assert len(runs) == 13
    assert clone.metrics("finetune")["scratch_baseline"]["epochs"] == 2
    assert "4 labels, from scratch, seed 1" in runs


def test_search_trials_are_nested_runs(clone):
    trials = clone.nested(clone.newest()["search"])

    assert set(trials) == {"trial 0", "trial 1"}
    assert all("train.learning_rate" in trial.data.params for trial in trials.values())


def test_each_value_of_a_comparison_is_a_nested_run_and_a_row(clone):
    nested = clone.nested(clone.newest()["compare@latent_dim"])
    metrics = clone.metrics("compare/latent_dim")
    table = {row["value"]: row for row in clone.table("compare/latent_dim/table.csv")}

    assert list(metrics) == list(table) == ["2", "3"]
    assert set(nested) == {"latent_dim=2", "latent_dim=3"}
    for name, run in nested.items():
        value = name.removeprefix("latent_dim=")
        assert run.info.status == "FINISHED"
        assert run.data.params["train.epochs"] == "1"
        mse = metrics[value]["validation"]["mse"]
        assert run.data.metrics["validation/mse"] == mse == float(table[value]["best_mse"])
        assert metrics[value]["epochs"] == 1
    two, three = (run.data.params for run in nested.values())
    assert {name for name in two if two[name] != three[name]} == {"train.model.latent_dim"}
    assert clone.plots("compare/latent_dim") == {"curves.png", "values.png", "maps.png"}


def test_nested_runs_have_the_tags_of_their_stage_and_share_its_parameter_names(clone):
    kinds = {
        "search": {"trial"},
        "compare@latent_dim": {"compared value"},
        "denoise": {"denoiser"},
        "finetune": {"baseline", "label budget"},
    }
    newest = clone.newest()
    for stage, expected in kinds.items():
        parent, nested = newest[stage], clone.nested(newest[stage]).values()
        assert {child.data.tags["kind"] for child in nested} == expected
        for child in nested:
            for tag in ("stage", "dataset", "data_hash", "seed", "git_commit", "fingerprint"):
                assert child.data.tags[tag] == parent.data.tags[tag], (stage, tag)
        for child in nested:  # siblings differ in a parameter
            same = [other for other in nested if other.data.params == child.data.params]
            assert same == [child], stage
    for stage in ("denoise", "finetune"):
        for child in clone.nested(newest[stage]).values():
            own = {name for name in child.data.params if name.startswith(stage)}
            assert own
            assert own <= set(newest[stage].data.params)
    compared = clone.nested(newest["compare@latent_dim"])["latent_dim=2"].data.params
    of_train = {name for name in newest["train"].data.params if name.startswith("train.")}
    assert of_train <= set(compared)


def test_trainings_log_the_same_images_over_time(clone):
    newest = clone.newest()
    runs = {stage: newest[stage] for stage in ("train", "finetune", "reference", "vae", "gan")}
    runs |= clone.nested(newest["denoise"])
    for name, run in runs.items():
        files = [Path(file.path) for file in clone.client.list_artifacts(run.info.run_id, "images")]
        images = {file.name.partition("+timestamp")[0] for file in files if file.suffix == ".png"}
        epochs = int(run.data.params.get(f"{name}.epochs", 1))
        kinds = {image.partition("+")[0] for image in images}
        assert "latent_map" in kinds, name
        assert len(kinds) == 2
        steps = range(1, epochs + 1)
        assert images == {f"{kind}+step+{step}" for kind in kinds for step in steps}


def test_nested_runs_have_the_times_of_their_trainings(clone):
    newest = clone.newest()
    for stage in ("search", "compare@latent_dim", "denoise"):
        parent = newest[stage]
        for child in clone.nested(parent).values():
            assert child.info.start_time < child.info.end_time < parent.info.end_time
            history = clone.client.get_metric_history(child.info.run_id, "train/loss")
            assert history[-1].timestamp == child.info.end_time


def test_a_training_with_a_frozen_encoder_is_logged_as_one(clone):
    runs = clone.nested(clone.newest()["finetune"])

    for name, run in runs.items():
        frozen = run.data.params["finetune.freeze_encoder"]
        assert frozen == str("frozen encoder" in name), name


def test_dvc_shows_metrics_and_plots(clone):
    files = json.loads(clone("dvc", "metrics", "show", "--json"))[""]["data"]
    folders = {stage.replace("@", "/") for stage in STAGES} - {"report"}
    assert set(files) == {f"outputs/{folder}/metrics.json" for folder in folders}

    page = clone("dvc", "plots", "show").strip().splitlines()[-1].removeprefix("file://")
    html = Path(page).read_text()
    pipeline = YAML(typ="safe").load(clone.root / "dvc.yaml")
    assert all(html.count(json.dumps(title)) == 1 for plot in pipeline["plots"] for title in plot)
    assert "<script src" not in html
    for table, column in (
        ("denoise/history.csv", "denoiser"),
        ("evaluate/robustness.csv", "method"),
    ):
        assert all(f'"{column}": "{row[column]}"' in html for row in clone.table(table))


def test_repeating_a_stage_with_the_installed_commands_gives_bit_identical_outputs(clone):
    before = clone.lock()
    repeat = ("dvc", "repro", "--force", "--single-item", "gan")
    assert "Running stage" in clone(*repeat, environment=clone.environment)

    assert clone.lock() == before


def test_no_stage_leaves_temporary_files(clone):
    assert list(clone.temporary.iterdir()) == []


@pytest.mark.slow
def test_repeating_all_stages_gives_bit_identical_outputs(clone):
    before = clone.lock()
    clone("dvc", "repro", "--force")

    assert clone.lock() == before


def test_outputs_contain_no_paths_and_no_run_ids(clone):
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


def test_editing_a_section_changes_only_its_stage_and_those_that_depend_on_it(clone):
    clone.edit({"runtime": {"threads": 2}, "vae": {"epochs": 1}})
    assert clone.changed() == {"vae", "report"}
    clone.edit({"runtime": SMALL["runtime"]})
    clone("dvc", "repro", "vae")
    assert clone.changed() == {"evaluate", "report"}

    comparison = SMALL["compare"]["latent_dim"] | {"values": [2, 3, 4]}
    clone.edit({"compare": {"latent_dim": comparison}})
    assert clone.changed() == {"evaluate", "compare@latent_dim", "report"}


def test_undoing_an_edit_restores_outputs_from_the_cache(clone):
    runs = len(clone.runs("digits"))

    clone.edit({name: SMALL[name] for name in ("vae", "compare")})

    assert clone.repro() == []
    assert len(clone.runs("digits")) == runs
    origins = json.loads(clone("latentlab", "runs", "--here", "--json"))
    assert len(origins) == len(STAGES)
    assert {origin["match"] for origin in origins} == {"exact"}
    assert [o["others"] for o in origins if o["output"] == "outputs/gan"] == [1]  # it was repeated


def test_the_commands_of_the_guides_run(clone, repository, tmp_path):
    guides = repository / "docs" / "how-to"
    assert "train latent" in clone(*commands_of(guides / "compare-runs.md", "latentlab runs")[0])
    for command in commands_of(guides / "compare-runs.md", "latentlab runs")[1:]:
        clone(*command)
    for command in commands_of(guides / "share-a-store.md", "dvc remote", "dvc push", "git add"):
        clone(*(part.replace("s3://bucket", str(tmp_path)) for part in command))
    assert list((tmp_path / "latentlab").rglob("*.dir"))  # the hash of data/
    clone("git", "checkout", "HEAD", ".dvc/config")


def commands_of(page, *beginnings):
    """Return the commands in a page that begin with one of some words, as lists of arguments."""
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    commands = [line for line in blocks.splitlines() if line.startswith(beginnings)]
    assert all(any(command.startswith(each) for command in commands) for each in beginnings)
    return [shlex.split(command, comments=True) for command in commands]


def test_editing_source_code_changes_the_stages_that_declare_it(clone):
    package = clone.root / "src" / "latentlab"

    def stages_changed_by(module):
        original = (package / module).read_text()
        (package / module).write_text(original + "\n# edited\n")
        changed = clone.changed()
        (package / module).write_text(original)
        return changed

    assert stages_changed_by("commands/doctor.py") == {"report"}
    assert stages_changed_by("stages/gan.py") == {"gan", "report"}


def test_an_experiment_in_a_temporary_folder_is_logged_with_all_other_runs(clone):
    change = ("--name", "longer-vae", "-S", "vae.epochs=3")
    before = clone.newest()["vae"].data.params
    clone("dvc", "exp", "run", "--temp", *change, "vae")

    newest = clone.newest()
    after = newest["vae"].data.params
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        "vae.epochs"
    }
    assert newest["vae"].data.params["vae.epochs"] == "3"
    assert newest["vae"].data.tags["dvc_exp_name"] == "longer-vae"
    assert "longer-vae" in clone("dvc", "exp", "show", "--csv")


def test_the_gate_compares_the_metrics_of_the_pipeline_with_its_baseline(clone):
    for baseline in (clone.root / "baselines").glob("*.json"):
        baseline.unlink()
    assert "does not exist" in clone("latentlab", "gate", expect=2)

    clone("latentlab", "gate", "--accept")
    assert "gate passed" in clone("latentlab", "gate")

    path = clone.root / "baselines" / "digits.json"
    baseline = read_baseline(path)
    baseline.runs[0].metrics["evaluate/test/autoencoder/mse"] /= 2
    write_baseline(path, baseline)
    assert "\nevaluate/test/autoencoder/mse: " in clone("latentlab", "gate", expect=1)


@pytest.mark.slow
def test_a_tenfold_learning_rate_fails_the_gate_until_it_is_undone(clone):
    """The training has more epochs than usual, because a short one profits from a high rate."""
    before = {"epochs": 2, "learning_rate": "search", "optimizer": "search"}
    clone.edit({"train": {"epochs": 12, "learning_rate": 0.004, "optimizer": "adamw"}})
    clone.repro()
    clone("latentlab", "gate", "--accept", "--reason", "more epochs")
    clone.edit({"train": {"learning_rate": 0.04}})
    assert "train" in clone.repro()
    output = clone("latentlab", "gate", expect=1)
    assert re.search(r"evaluate/test/\S+: .* -> .* \(worse by", output)

    clone.edit({"train": {"learning_rate": 0.004}})
    assert clone.repro() in ([], ["report"])  # which shows the new baseline
    assert "gate passed" in clone("latentlab", "gate")
    clone.edit({"train": before})
    assert clone.repro() in ([], ["report"])


def test_a_mistake_in_params_yaml_is_reported_before_anything_runs(clone):
    path = clone.root / "params.yaml"
    original = path.read_text()
    path.write_text(original.replace("  epochs: 2", "  epochs: two", 1))
    runs = len(clone.runs("digits"))

    output = clone("latentlab", "train", expect=2)
    path.write_text(original)

    assert re.search(r"params.yaml:\d+: train.epochs = 'two'", output)
    assert "Traceback" not in output
    assert len(clone.runs("digits")) == runs


def test_the_run_of_a_failed_stage_has_the_reason(clone):
    description = clone.root / "outputs" / "train" / "model" / "model.json"
    text = description.read_text()
    description.unlink()
    assert "run `dvc repro`" in clone("latentlab", "finetune", expect=4)
    description.write_text(text)

    failed = clone.newest()["finetune"]
    assert failed.info.status == "FAILED"
    assert "run `dvc repro`" in failed.data.tags["reason"]


def test_a_killed_stage_resumes_from_its_checkpoint_and_its_run_does_not_stay_open(clone):
    clone.edit({"vae": {"epochs": 5000}})
    killed = clone.start("latentlab", "vae")
    wait_until(lambda: list(clone.root.glob(".latentlab/checkpoints/vae-*/training-cpu.pt")))
    killed.kill()
    killed.communicate(timeout=60)
    wait_until(lambda: clone.newest()["vae"].info.status == "KILLED")
    run = clone.newest()["vae"]
    before = count_epochs(clone, run)

    terminated = clone.start("latentlab", "vae")
    wait_until(lambda: count_epochs(clone, run) > before)
    terminated.send_signal(signal.SIGTERM)
    _, stderr = terminated.communicate(timeout=60)

    assert terminated.returncode == 143, stderr
    newest = clone.newest()["vae"]
    assert newest.info.run_id == run.info.run_id
    assert newest.info.status == "KILLED"
    history = clone.client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == list(range(1, len(history) + 1))


def count_epochs(clone, run):
    return len(clone.client.get_metric_history(run.info.run_id, "train/loss"))


@pytest.mark.slow
def test_a_folder_of_color_images_needs_only_its_name_in_params_yaml(clone):
    draw_shapes(clone.root / "data" / "shapes", of_each=30)
    clone("dvc", "add", "data")
    clone.edit(SMALL | {"data": {"name": "shapes", "image_size": 32}})

    assert sorted(clone.repro()) == sorted(STAGES)

    assert {name_of(run) for run in clone.runs("shapes")} == set(STAGES)
    info = json.loads((clone.root / "outputs" / "fetch" / "dataset.json").read_text())
    assert info["classes"] == sorted(SHAPES)
    assert info["image_shape"] == [3, 32, 32]
    assert sum(info["sizes"].values()) == 90
