"""The experiment about the gate, without running the pipeline."""

import random
import subprocess
import sys

import pytest

from benchmarks import gate as results
from benchmarks import gate_runs
from benchmarks.gate_runs import Gate, Variant
from benchmarks.regressions import REGRESSIONS, Edit, apply_edits, edits_digest
from gated import ACCURACY, MSE, accepted_run, git, make_baseline, run_scripts
from latentlab.commands.gate import GateOptions, accept
from latentlab.gate.baseline import read_baseline
from latentlab.gate.policy import Policy, matches
from latentlab.params.load import load_params

POLICY = Policy.model_validate(
    {
        "metrics": {
            MSE: {"direction": "lower", "smallest_effect": 0.01},
            ACCURACY: {"direction": "higher", "smallest_effect": 0.02},
        }
    }
)
EDIT = Edit("code.py", "beta = 1.0", "beta = 0.5")
PLAIN = [Variant("unchanged", 100), Variant("unchanged", 101)]
WORSE = [Variant("more errors", 100, (EDIT,), (MSE,)), Variant("dropout", 101, (EDIT,), (MSE,))]


def gate_of(fingerprint="f", seeds=5, mse=lambda seed: 0.1 + seed / 1000):
    runs = [
        accepted_run(seed, fingerprint, mse=mse(seed), accuracy=0.9 + seed / 1000)
        for seed in range(seeds)
    ]
    return Gate(POLICY, make_baseline(*runs))


def run_of(variant, gate, mse=0.1, accuracy=0.9):
    return {
        "name": variant.name,
        "seed": variant.seed,
        "edits": edits_digest(variant.edits),
        "baseline": gate.fingerprint,
        "metrics": {MSE: mse, ACCURACY: accuracy},
    }


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Return the names and seeds of the variants that run, up to three of them."""
    started = []

    def run(variant, gate, commit):
        if len(started) == 3:
            raise KeyboardInterrupt
        started.append((variant.name, variant.seed))
        return run_of(variant, gate)

    monkeypatch.setattr(gate_runs, "RUNS", tmp_path / "runs.json")
    monkeypatch.setattr(gate_runs, "prepare_clone", lambda: "c" * 40)
    monkeypatch.setattr(gate_runs, "run_variant", run)
    for module in (gate_runs, results):
        monkeypatch.setattr(module, "unchanged_variants", lambda: PLAIN)
        monkeypatch.setattr(module, "regression_variants", lambda: WORSE)
    return started


def test_a_baseline_whose_noise_is_unknown_gives_no_results(monkeypatch):
    monkeypatch.setattr(Gate, "of_repository", lambda: gate_of(seeds=4))
    monkeypatch.setattr(results, "run_all", lambda gate: [])

    with pytest.raises(SystemExit, match="the baseline has 4 runs"):
        results.measure()


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
    gate = Gate.of_repository()
    baseline = read_baseline(repository / "baselines" / "digits.json")
    can_fail = [
        metric
        for metric in baseline.metrics
        if (rule := gate.policy.rule_of(metric)) and not rule.informational
    ]

    for regression in REGRESSIONS:
        for pattern in regression.metrics:
            assert any(matches(pattern, metric) for metric in can_fail), pattern


def test_an_interrupted_experiment_continues_with_the_variants_that_are_missing(experiment):
    with pytest.raises(KeyboardInterrupt):
        gate_runs.run_all(gate_of())
    before = [*experiment]
    experiment.clear()

    runs = gate_runs.run_all(gate_of())

    assert before == [("unchanged", 100), ("unchanged", 101), ("more errors", 100)]
    assert experiment == [("dropout", 101)]
    assert len(runs) == 4
    experiment.clear()
    assert gate_runs.run_all(gate_of()) == runs
    assert experiment == []


def test_runs_of_another_baseline_or_with_other_edits_are_repeated(experiment, monkeypatch):
    plain = [Variant("unchanged", 100)]
    for name in ("unchanged_variants", "regression_variants"):
        monkeypatch.setattr(gate_runs, name, lambda: plain)
    monkeypatch.setattr(gate_runs, "regression_variants", lambda: WORSE[:1])
    gate_runs.run_all(gate_of())
    experiment.clear()

    other = Variant("more errors", 100, (Edit("code.py", "beta = 1.0", "beta = 0.9"),), (MSE,))
    monkeypatch.setattr(gate_runs, "regression_variants", lambda: [other])
    gate_runs.run_all(gate_of())
    after_edit = [*experiment]
    experiment.clear()
    gate_runs.run_all(gate_of("another fingerprint"))

    assert after_edit == [("more errors", 100)]
    assert experiment == [("unchanged", 100), ("more errors", 100)]


def test_a_seed_of_the_baseline_is_rejected(experiment):
    with pytest.raises(SystemExit, match=r"seeds of the experiment: \[100, 101\]"):
        gate_runs.run_all(gate_of(seeds=102))


def test_false_alarms_and_regressions_caught_by_an_expected_metric_are_counted(experiment):
    gate = gate_of()
    runs = [
        run_of(PLAIN[0], gate),
        run_of(PLAIN[1], gate, accuracy=0.5),
        run_of(WORSE[0], gate, mse=0.2),
        run_of(WORSE[1], gate, accuracy=0.5),  # fails, but not by an expected metric
    ]

    found = results.summary(gate, runs)
    text = results.section(gate, runs)

    assert found["gate_false_alarms_of_2"] == 1
    assert found["gate_caught_of_2"] == 1
    assert set(found["gate_detectable_changes"]) == {MSE, ACCURACY}
    assert "1 failed (accuracy)" in text
    assert "| more errors | mse | +0.098 | +0.1 | 0.01 | caught |" in text
    assert "| dropout | mse | -0.002 | +0 | 0.01 | **missed** |" in text


def test_a_summary_of_an_unfinished_experiment_is_an_error(experiment):
    gate = gate_of()

    with pytest.raises(ValueError, match="1 of 2 variants have not finished"):
        results.summary(gate, [run_of(PLAIN[0], gate)])


def test_the_smallest_detectable_change_is_detected_in_nine_of_ten_simulated_runs():
    noise = random.Random(0)
    gate = gate_of(seeds=10, mse=lambda seed: noise.gauss(1, 0.1))

    def simulate(count, change=0.0):
        variants = [Variant("unchanged", seed) for seed in range(count)]
        runs = [run_of(each, gate, noise.gauss(1 + change, 0.1)) for each in variants]
        return [gate.verdict(run) for run in runs]

    change = results.detectable_changes(simulate(1000))[MSE]
    detected = sum(not verdict.passed for verdict in simulate(1000, change))

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
    gate = Gate.of_repository()
    edits = (Edit("src/stage.py", '"mse": 0.1 +', '"mse": 0.5 +'),)
    commit = gate_runs.prepare_clone()

    plain = gate_runs.run_variant(Variant("unchanged", 100), gate, commit)
    worse = gate_runs.run_variant(Variant("more errors", 101, edits, (MSE,)), gate, commit)

    assert (plain["metrics"][MSE], worse["metrics"][MSE]) == (0.2, 0.601)
    assert git(small_repository.root, "status", "--porcelain") == ""
    shown = git(gate_runs.CLONE, "show", "more-errors-101", "--", "src/stage.py")
    assert '+metrics = {"fetch": {}, "evaluate": {"test": {"mse": 0.5' in shown
    without_effect = Variant("nothing", 102, (Edit("gate.yaml", "metrics:", "metrics: "),))
    with pytest.raises(SystemExit, match="change nothing that the pipeline depends on"):
        gate_runs.run_variant(without_effect, gate, commit)


def test_uncommitted_changes_are_rejected(small_repository):
    (small_repository.root / "src" / "stage.py").write_text("")

    with pytest.raises(SystemExit, match="commit these changes first"):
        gate_runs.prepare_clone()
