"""`latentlab gate --calibrate`, with an invented pipeline in place of the real one."""

import subprocess

import pytest
from dvc.repo import Repo

from gated import LOCK, MSE, accepted_run, store_baseline, write_results
from latentlab.commands.gate import GateOptions, accept
from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.files import write_json
from latentlab.gate.baseline import baseline_path, read_baseline
from latentlab.gate.calibrate import run_experiment
from latentlab.params.load import load_params


def git(root, *arguments):
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository_of_results(gated):
    git(gated.root, "init", "-q")
    (gated.root / ".gitignore").write_text("dataset.json\n")
    git(gated.root, "add", "-A")
    git(gated.root, "commit", "-qm", "results")
    return gated


class Pipeline:
    """A runner that invents the metrics of a seed, and fails at one seed if it is told to."""

    def __init__(self, project, fails_at=None, lock=LOCK, **metrics):
        self.project, self.fails_at, self.lock, self.metrics = project, fails_at, lock, metrics
        self.seeds = []

    def __call__(self, root, name, seed):
        if seed == self.fails_at:
            raise EnvironmentProblem(f"the pipeline failed with seed {seed}")
        self.seeds.append(seed)
        write_results(self.project, **({"mse": 0.1 + seed / 1000, "accuracy": 0.9} | self.metrics))
        write_json(root / "dvc.lock", self.lock)
        git(root, "update-ref", f"refs/exps/ab/cdef/{name}", git(root, "stash", "create").strip())
        git(root, "checkout", "-q", "--", "outputs", "dvc.lock")


def calibrate(project, runs, pipeline, **options):
    params = load_params(project.params)
    accept(project, params, GateOptions(calibrate=runs, **options), pipeline)
    return read_baseline(baseline_path(project.root, "digits"))


def test_the_baseline_gets_runs_with_the_smallest_other_seeds(repository_of_results):
    pipeline = Pipeline(repository_of_results)

    baseline = calibrate(repository_of_results, 4, pipeline)

    assert pipeline.seeds == [1, 2, 3]
    assert [run.seed for run in baseline.runs] == [0, 1, 2, 3]
    assert [run.metrics[MSE] for run in baseline.runs] == pytest.approx([0.1, 0.101, 0.102, 0.103])
    assert len({run.fingerprint for run in baseline.runs}) == 1


def test_an_interrupted_calibration_continues_with_the_missing_seeds(repository_of_results):
    interrupted = Pipeline(repository_of_results, fails_at=2)
    with pytest.raises(EnvironmentProblem):
        calibrate(repository_of_results, 4, interrupted)
    again = Pipeline(repository_of_results)

    baseline = calibrate(repository_of_results, 4, again)

    assert (interrupted.seeds, again.seeds) == ([1], [2, 3])
    assert len(baseline.runs) == 4


def test_runs_of_the_earlier_baseline_are_reused(repository_of_results):
    calibrate(repository_of_results, 3, Pipeline(repository_of_results))
    names = git(repository_of_results.root, "for-each-ref", "--format=%(refname)", "refs/exps")
    for name in names.split():
        git(repository_of_results.root, "update-ref", "-d", name)
    more = Pipeline(repository_of_results)

    baseline = calibrate(repository_of_results, 5, more)

    assert more.seeds == [3, 4]
    assert [run.seed for run in baseline.runs] == [0, 1, 2, 3, 4]


def test_runs_with_another_fingerprint_are_not_reused(repository_of_results):
    store_baseline(repository_of_results, accepted_run(1, "other", mse=0.1, accuracy=0.9))
    pipeline = Pipeline(repository_of_results)

    baseline = calibrate(repository_of_results, 2, pipeline)

    assert pipeline.seeds == [1]
    assert "other" not in {run.fingerprint for run in baseline.runs}


@pytest.mark.parametrize(
    ("name", "settings"),
    {
        "other parameters": {
            "lock": {"stages": {"train": {"params": {"params.yaml": {"train.epochs": 9}}}}}
        },
        "invalid metric": {"mse": -1},
        "text": {"mse": "0.1"},
    }.items(),
)
def test_a_run_that_does_not_fit_is_rejected(repository_of_results, message, name, settings):
    before = baseline_path(repository_of_results.root, "digits").read_text()

    with pytest.raises(ParamsError) as caught:
        calibrate(repository_of_results, 2, Pipeline(repository_of_results, **settings))

    text = str(caught.value)
    if "calibrate-" in text:
        start = text.index("calibrate-")
        text = text.replace(text[start : start + len("calibrate-") + 10], "calibrate-<fingerprint>")
    message(f"gate/calibrate: {name}", text)
    assert baseline_path(repository_of_results.root, "digits").read_text() == before


def test_worse_metrics_need_a_reason_before_anything_runs(repository_of_results):
    write_results(repository_of_results, mse=0.2, accuracy=0.9)
    git(repository_of_results.root, "commit", "-qam", "worse")
    pipeline = Pipeline(repository_of_results)

    with pytest.raises(ParamsError, match="state why with --reason"):
        calibrate(repository_of_results, 3, pipeline)
    assert pipeline.seeds == []

    assert calibrate(repository_of_results, 2, pipeline, reason="because").reason == "because"


PIPELINE = """\
stages:
  evaluate:
    cmd: python -c "import shutil; shutil.copy('params.yaml', 'result.yaml')"
    params: [runtime.seed]
    metrics:
      - result.yaml:
          cache: false
"""


@pytest.fixture
def dvc_repository(tmp_path, monkeypatch):
    """A Git and DVC repository, in which the result of the pipeline is its parameters."""
    for name in ("DVC_ROOT", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    with Repo.init():
        (tmp_path / "dvc.yaml").write_text(PIPELINE)
        (tmp_path / "params.yaml").write_text("runtime: {seed: 0}\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "pipeline")
    return tmp_path


def test_dvc_runs_an_experiment_outside_the_work_tree(dvc_repository):
    run_experiment(dvc_repository, "calibrate-x-3", 3)

    names = git(
        dvc_repository, "for-each-ref", "--format=%(refname)", "refs/exps/*/*/calibrate-x-3"
    )
    result = git(dvc_repository, "show", f"{names.strip()}:result.yaml")
    assert "seed: 3" in result
    assert git(dvc_repository, "status", "--porcelain") == ""


def test_a_pipeline_that_fails_is_an_error(dvc_repository):
    text = (dvc_repository / "dvc.yaml").read_text()
    (dvc_repository / "dvc.yaml").write_text(text.replace("result.yaml')", "no/such/folder')"))

    with pytest.raises(EnvironmentProblem, match="failed with seed 3"):
        run_experiment(dvc_repository, "calibrate-x-3", 3)
