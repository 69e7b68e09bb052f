"""`latentlab gate --calibrate`, with an invented pipeline in place of the real one."""

import pytest

from gated import (
    LOCK,
    MSE,
    accepted_run,
    git,
    run_scripts,
    store_baseline,
    write_results,
)
from latentlab.commands.gate import GateOptions, accept, judge
from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.files import write_json
from latentlab.gate.baseline import baseline_path, read_baseline
from latentlab.gate.calibrate import run_experiment
from latentlab.params.load import load_params


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
        git(root, "update-ref", f"refs/exps/ab/cdef/{name}", git(root, "stash", "create"))
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


@pytest.fixture
def finished_pipeline(checkout, monkeypatch):
    """A Git and DVC repository whose two stages have run, and are committed."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    run_scripts(checkout)
    return checkout


def test_dvc_runs_the_pipeline_with_each_seed_outside_the_work_tree(finished_pipeline):
    baseline = calibrate(finished_pipeline, 3, run_experiment)

    assert [run.seed for run in baseline.runs] == [0, 1, 2]
    assert [run.metrics[MSE] for run in baseline.runs] == pytest.approx([0.1, 0.101, 0.102])
    assert git(finished_pipeline.root, "status", "--porcelain") == "?? baselines/"
    assert judge(finished_pipeline, load_params(finished_pipeline.params)).outcome == "passed"

    params = finished_pipeline.params.read_text()
    finished_pipeline.params.write_text(params.replace("  seed: 0", "  seed: 1"))
    with pytest.raises(ParamsError, match=r"evaluate: params\.yaml: runtime\.seed modified"):
        judge(finished_pipeline, load_params(finished_pipeline.params))


def test_a_pipeline_that_fails_is_an_error(finished_pipeline):
    (finished_pipeline.root / "src" / "stage.py").write_text("raise SystemExit(1)")

    with pytest.raises(EnvironmentProblem, match="failed with seed 3"):
        run_experiment(finished_pipeline.root, "calibrate-x-3", 3)
