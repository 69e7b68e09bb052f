"""Results, policies and baselines for tests of the gate, without running the pipeline."""

import json
import subprocess
import sys

import numpy as np
from dvc.repo import Repo

from latentlab.common.files import write_json
from latentlab.evaluation.examples import EXAMPLES, Examples
from latentlab.gate.baseline import (
    AcceptedRun,
    Baseline,
    baseline_path,
    checksum,
    write_baseline,
)

MSE, ACCURACY = "evaluate/test/mse", "evaluate/test/accuracy"
POLICY = f"""\
metrics:
  {MSE}: {{direction: lower, smallest_effect: 0.01, min: 0}}
  {ACCURACY}: {{direction: higher, smallest_effect: 0.02, min: 0, max: 1, too_good: 0.999}}
"""
PIPELINE = "stages: {fetch: {}, evaluate: {}}"
LOCK = {
    "stages": {
        "evaluate": {
            "params": {"params.yaml": {"runtime.seed": 0}},
            "deps": [{"path": "src/models", "md5": "0"}, {"path": "outputs/fetch", "md5": "0"}],
        }
    }
}


def write_policy(project, text=POLICY):
    (project.root / "gate.yaml").write_text(text)


def write_pipeline(project, text=PIPELINE):
    (project.root / "dvc.yaml").write_text(text)


def write_dataset(project, name="digits"):
    write_json(project.outputs("fetch") / "dataset.json", {"name": name, "sha256": {"file": "0"}})
    write_json(project.outputs("fetch") / "metrics.json", {})


def write_results(project, **metrics):
    """Write the metrics of the test split as if `evaluate` had run, and a lock of the pipeline."""
    write_dataset(project)
    folder = project.outputs("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    # unlike write_json, the json module writes NaN, as other programs may
    (folder / "metrics.json").write_text(json.dumps({"test": metrics, "epochs": 3}))
    write_json(project.root / "dvc.lock", LOCK)


def accepted_run(seed=0, fingerprint="f", **metrics):
    """Return an accepted run with these metrics of the test split."""
    return AcceptedRun(
        seed=seed,
        commit="c" * 40,
        dirty=False,
        fingerprint=fingerprint,
        data="d",
        packages={"torch": "2"},
        processor="CPU",
        device="cpu",
        metrics={f"evaluate/test/{name}": value for name, value in metrics.items()},
    )


def make_baseline(*runs, dataset="digits", profile="digits"):
    return Baseline(dataset=dataset, profile=profile, accepted=None, reason=None, runs=list(runs))


def store_baseline(project, *runs, profile="digits", **changes):
    """Write a baseline of these runs, which may claim to be of another dataset or profile."""
    changes = {"profile": profile} | changes
    write_baseline(baseline_path(project.root, profile), make_baseline(*runs, **changes))


def edit_baseline(project, change, profile="digits"):
    """Change a stored baseline in place, and its checksum so that it fits."""
    path = baseline_path(project.root, profile)
    document = json.loads(path.read_text())
    change(document)
    content = {key: value for key, value in document.items() if key != "checksum"}
    path.write_text(json.dumps(content | {"checksum": checksum(content)}))


def git(root, *arguments):
    """Run Git in a folder and return what it prints."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_examples(project, mse, weights="w", images="i"):
    """Write squared errors per image as if `evaluate` had run with a model of these weights."""
    values = {MSE: np.asarray(mse, np.float32)}
    Examples(values, {MSE: weights}, images).write(project.outputs("evaluate") / EXAMPLES)


SCRIPT = """\
import json, pathlib, re, sys

stage = sys.argv[1]
seed = int(re.search(r"  seed: (\\d+)", pathlib.Path("params.yaml").read_text())[1])
metrics = {"fetch": {}, "evaluate": {"test": {"mse": 0.1 + seed / 1000, "accuracy": 0.9}}}[stage]
folder = pathlib.Path("outputs", stage)
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.json").write_text(json.dumps(metrics))
if stage == "fetch":
    (folder / "dataset.json").write_text(json.dumps({"name": "digits", "sha256": {"file": "0"}}))
"""

PIPELINE_OF_SCRIPTS = """\
stages:
  fetch:
    cmd: python src/stage.py fetch
    deps: [src/stage.py]
    outs: [outputs/fetch/dataset.json]
    metrics:
      - outputs/fetch/metrics.json:
          cache: false
  evaluate:
    cmd: python src/stage.py evaluate
    deps: [outputs/fetch/dataset.json, src/stage.py]
    params: [runtime.seed]
    metrics:
      - outputs/evaluate/metrics.json:
          cache: false
"""


def run_scripts(project):
    """Run a pipeline of two scripts with DVC, and commit its results with Git."""
    write_policy(project)
    write_pipeline(project, PIPELINE_OF_SCRIPTS)
    (project.root / "src").mkdir()
    (project.root / "src" / "stage.py").write_text(SCRIPT)
    git(project.root, "init", "-q")
    Repo.init(project.root).close()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=project.root, check=True)
    git(project.root, "add", "-A")
    git(project.root, "commit", "-qm", "results")
