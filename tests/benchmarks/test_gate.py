"""The experiment about the gate, without running the pipeline."""

import random
import subprocess
import sys

import pytest

from benchmarks import gate as results
from benchmarks import gate_runs
from benchmarks.gate_runs import Shipped, Variant, failing
from benchmarks.regressions import REGRESSIONS, Edit, apply_edits, edits_digest
from gated import ACCURACY, MSE, accepted_run, git, make_baseline, run_scripts
from latentlab.commands.gate import GateOptions, accept
from latentlab.common.project import Project
from latentlab.gate.baseline import read_baseline
from latentlab.gate.policy import matches, read_policy
from latentlab.params.load import load_params

EDIT = Edit("code.py", "beta = 1.0", "beta = 0.5")
PLAIN = [Variant("unchanged", 100), Variant("unchanged", 101)]
OTHER_EDIT = Edit("code.py", "beta = 1.0", "beta = 0.9")
WORSE = [
    Variant("more errors", 0, (EDIT,), (MSE,)),
    Variant("dropout", 0, (OTHER_EDIT,), (MSE,)),
]


def shipped_of(checksum="c", seeds=5):
    runs = [accepted_run(seed, "f", mse=0.1, accuracy=0.9) for seed in range(seeds)]
    return Shipped(make_baseline(*runs), checksum)


def comparison(metric, change, allowed, direction="lower", informational=False):
    """Return what the gate reports on a metric whose baseline is 1 ± 0.1."""
    now = 1 + change if direction == "lower" else 1 - change
    return {
        "metric": metric,
        "direction": direction,
        "baseline": 1.0,
        "std": 0.1,
        "now": now,
        "change": change,
        "allowed": allowed,
        "fails": change > allowed and not informational,
        "informational": informational,
    }


def run_of(variant, mse=0.0, accuracy=0.0, checksum="c"):
    """Return the run of a variant whose metrics became worse by so much; 0.3 is allowed."""
    return {
        "name": variant.name,
        "seed": variant.seed,
        "edits": edits_digest(variant.edits),
        "baseline": checksum,
        "comparisons": [
            comparison(MSE, mse, 0.3),
            comparison(ACCURACY, accuracy, 0.3, "higher"),
        ],
    }


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Return the names and seeds of the variants that run, up to three of them."""
    started = []

    def run(variant, shipped, commit):
        if len(started) == 3:
            raise KeyboardInterrupt
        started.append((variant.name, variant.seed))
        return run_of(variant, checksum=shipped.checksum)

    monkeypatch.setattr(gate_runs, "RUNS", tmp_path / "runs.json")
    monkeypatch.setattr(gate_runs, "prepare_clone", lambda: "c" * 40)
    monkeypatch.setattr(gate_runs, "run_variant", run)
    for module in (gate_runs, results):
        monkeypatch.setattr(module, "unchanged_variants", lambda: PLAIN)
        monkeypatch.setattr(module, "regression_variants", lambda: WORSE)
    return started


def test_a_baseline_whose_noise_is_unknown_is_rejected(experiment):
    with pytest.raises(SystemExit, match="the baseline has 4 runs"):
        gate_runs.run_all(shipped_of(seeds=4))


def test_an_edit_replaces_a_text(tmp_path):
    (tmp_path / "code.py").write_text("beta = 1.0\nscale = 2\n")

    apply_edits((EDIT, Edit("code.py", "scale = 2", "scale = 3")), tmp_path)

    assert (tmp_path / "code.py").read_text() == "beta = 0.5\nscale = 3\n"


@pytest.mark.parametrize("text", ["beta = 2.0\n", "beta = 1.0\nbeta = 1.0\n"])
def test_a_text_that_is_not_found_exactly_once_is_an_error_and_nothing_is_written(tmp_path, text):
    (tmp_path / "first.py").write_text("a = 1")
    (tmp_path / "code.py").write_text(text)

    with pytest.raises(ValueError, match=r"code\.py contains [02] times instead of once"):
        apply_edits((Edit("first.py", "a = 1", "a = 2"), EDIT), tmp_path)

    assert (tmp_path / "first.py").read_text() == "a = 1"
    assert (tmp_path / "code.py").read_text() == text


@pytest.mark.parametrize("regression", REGRESSIONS, ids=lambda each: each.name)
def test_every_regression_can_be_applied_to_this_repository(tmp_path, repository, regression):
    files = {edit.file for edit in regression.edits}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((repository / file).read_text())

    apply_edits(regression.edits, tmp_path)

    for file in files:
        changed = (tmp_path / file).read_text()
        assert changed != (repository / file).read_text()
        if file.endswith(".py"):
            compile(changed, file, "exec")


def test_every_regression_expects_metrics_that_can_fail(repository):
    policy = read_policy(Project(repository, repository), "digits")
    baseline = read_baseline(repository / "baselines" / "digits.json")
    can_fail = [
        metric
        for metric in baseline.metrics
        if (rule := policy.rule_of(metric)) and not rule.informational
    ]

    for regression in REGRESSIONS:
        for pattern in regression.metrics:
            assert any(matches(pattern, metric) for metric in can_fail), pattern


def test_an_interrupted_experiment_continues_with_the_variants_that_are_missing(experiment):
    with pytest.raises(KeyboardInterrupt):
        gate_runs.run_all(shipped_of())
    before = [*experiment]
    experiment.clear()

    runs = gate_runs.run_all(shipped_of())

    assert before == [("unchanged", 100), ("unchanged", 101), ("more errors", 0)]
    assert experiment == [("dropout", 0)]
    assert len(runs) == 4
    experiment.clear()
    assert gate_runs.run_all(shipped_of()) == runs
    assert experiment == []


def test_runs_of_another_baseline_or_with_other_edits_are_repeated(experiment, monkeypatch):
    plain = [Variant("unchanged", 100)]
    for name in ("unchanged_variants", "regression_variants"):
        monkeypatch.setattr(gate_runs, name, lambda: plain)
    monkeypatch.setattr(gate_runs, "regression_variants", lambda: WORSE[:1])
    gate_runs.run_all(shipped_of())
    experiment.clear()

    monkeypatch.setattr(gate_runs, "regression_variants", lambda: WORSE[1:])
    gate_runs.run_all(shipped_of())
    after_edit = [*experiment]
    experiment.clear()
    gate_runs.run_all(shipped_of("another"))

    assert after_edit == [("dropout", 0)]
    assert experiment == [("unchanged", 100), ("dropout", 0)]


def test_a_seed_of_the_baseline_is_rejected(experiment):
    with pytest.raises(SystemExit, match=r"seeds of the experiment: \[100, 101\]"):
        gate_runs.run_all(shipped_of(seeds=102))


def test_false_alarms_and_regressions_caught_by_an_expected_metric_are_counted(experiment):
    runs = [
        run_of(PLAIN[0]),
        run_of(PLAIN[1], accuracy=0.5),
        run_of(WORSE[0], mse=0.4),
        run_of(WORSE[1], accuracy=0.5),  # fails, but not by an expected metric
    ]

    found = results.summary(runs)
    text = results.section(shipped_of(), runs)

    assert found["gate_false_alarms_of_2"] == 1
    assert found["gate_caught_of_2"] == 1
    assert set(found["gate_detectable_changes"]) == {MSE, ACCURACY}
    assert "1 failed (accuracy)" in text
    assert "| more errors | mse | +0.4 | +1.3 | 0.3 | caught |" in text
    assert "| dropout | mse | +0 | +0.9 | 0.3 | **missed** |" in text


def test_a_summary_of_an_unfinished_experiment_is_an_error(experiment):
    with pytest.raises(ValueError, match="1 of 2 variants have not finished"):
        results.summary([run_of(PLAIN[0])])


def test_the_smallest_detectable_change_is_detected_in_nine_of_ten_simulated_runs():
    noise = random.Random(0)

    def simulate(change=0.0):
        return [run_of(PLAIN[0], change + noise.gauss(0, 0.1)) for _ in range(1000)]

    change = results.detectable_changes(simulate())[MSE]
    detected = sum(bool(failing(run["comparisons"])) for run in simulate(change))

    assert detected == pytest.approx(900, abs=40)


@pytest.fixture
def small_repository(checkout, monkeypatch, tmp_path):
    """A repository with raw data, a pipeline of two scripts, and a baseline of it."""
    run_scripts(checkout)
    accept(checkout, load_params(checkout.params), GateOptions(accept=True))
    (checkout.root / ".dvc" / "config").write_text(
        "[core]\n    remote = bundled\n['remote \"bundled\"']\n    url = remote\n"
    )
    checkout.data.mkdir()
    (checkout.data / "raw").write_text("0")
    for command in (["add", "-q", "data"], ["push", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=checkout.root, check=True)
    git(checkout.root, "add", "-A")
    git(checkout.root, "commit", "-qm", "baseline")
    monkeypatch.setattr(gate_runs, "ROOT", checkout.root)
    monkeypatch.setattr(gate_runs, "CLONE", tmp_path / "clone")
    return checkout


def test_variants_run_in_a_clone_and_get_a_verdict(small_repository):
    shipped = Shipped.of_repository()
    edits = (Edit("src/stage.py", '"mse": 0.1 +', '"mse": 0.5 +'),)
    commit = gate_runs.prepare_clone()

    plain = gate_runs.run_variant(Variant("unchanged", 100), shipped, commit)
    worse = gate_runs.run_variant(Variant("more errors", 0, edits, (MSE,)), shipped, commit)

    for run, mse in ((plain, 0.2), (worse, 0.5)):
        assert {each["metric"]: each["now"] for each in run["comparisons"]}[MSE] == mse
    assert failing(worse["comparisons"]) == [MSE]
    assert git(small_repository.root, "status", "--porcelain") == ""
    shown = git(gate_runs.CLONE, "show", "more-errors-0", "--", "src/stage.py")
    assert '+metrics = {"fetch": {}, "evaluate": {"test": {"mse": 0.5' in shown
    without_effect = Variant("nothing", 0, (Edit("gate.yaml", "metrics:", "metrics: "),))
    with pytest.raises(SystemExit, match="nothing: nothing changes that the pipeline depends on"):
        gate_runs.run_variant(without_effect, shipped, commit)


def test_uncommitted_changes_are_rejected(small_repository):
    (small_repository.root / "src" / "stage.py").write_text("")

    with pytest.raises(SystemExit, match="commit these changes first"):
        gate_runs.prepare_clone()
