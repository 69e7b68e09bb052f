"""`latentlab gate` on the command line: exit codes, formats, and accepting a baseline."""

import json
from xml.etree import ElementTree

import pytest

from gated import ACCURACY, MSE, POLICY, accepted_run, store_baseline, write_policy, write_results
from latentlab.commands import gate
from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.gate.baseline import baseline_path, read_baseline
from latentlab.models.device import select_device


def store_noisy_baseline(checkout):
    """Write a baseline whose mean MSE is 0.1, with a noise of about 0.006 at level 0.025."""
    spread = (0.098, 0.099, 0.1, 0.101, 0.102)
    runs = [accepted_run(seed, mse=mse, accuracy=0.9) for seed, mse in enumerate(spread)]
    store_baseline(checkout, *runs)
    write_policy(checkout, POLICY.replace("0.01", "0.0001", 1))


class TestExitCode:
    def test_it_is_0_if_no_metric_became_worse(self, gated, latentlab):
        answer = latentlab("gate")

        assert answer.code == 0
        assert answer.out.splitlines()[-1] == "gate passed: 2 metrics"
        assert "WORSE" not in answer.out

    def test_it_is_1_if_a_metric_became_worse(self, gated, latentlab):
        write_results(gated, mse=0.2, accuracy=0.9)

        answer = latentlab("gate")

        assert answer.code == 1
        assert f"{MSE}: 0.1 -> 0.2 (worse by 0.1, allowed 0.01)" in answer.out.splitlines()
        assert answer.out.splitlines()[-1] == f"gate failed: {MSE}"

    def test_it_is_2_if_the_gate_cannot_judge(self, gated, latentlab):
        write_results(gated, accuracy=0.9)

        answer = latentlab("gate")

        assert (answer.code, answer.out) == (2, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--add"],
            ["--reason", "because"],
            ["--accept", "--reason", " "],
            ["--format", "yaml"],
            ["--accept", "--history", MSE],
            ["--history", MSE, "--format", "junit"],
        ],
        ids=" ".join,
    )
    def test_it_is_2_for_options_that_do_not_fit(self, gated, latentlab, arguments):
        before = read_baseline(baseline_path(gated.root, "digits"))

        assert latentlab("gate", *arguments).code == 2
        assert read_baseline(baseline_path(gated.root, "digits")) == before


class TestTable:
    def test_it_states_noise_and_confidence_and_improvements(self, gated, latentlab):
        store_noisy_baseline(gated)
        write_results(gated, mse=0.08, accuracy=0.9)

        answer = latentlab("gate")

        row = next(line.split() for line in answer.out.splitlines() if MSE in line)
        assert row[:3] == ["better", MSE, "lower"]
        assert " ".join(row[3:]) == "0.1 ± 0.0016 (n=5) 0.08 -0.02 0.0048 0.0048 (seeds) 99.9%"
        assert answer.out.splitlines()[-1] == "gate passed: 2 metrics, 1 better"

    def test_it_says_that_the_noise_is_unknown_with_fewer_than_5_runs(self, gated, latentlab):
        out = latentlab("gate").out

        assert "unknown" in out
        assert "the baseline has 1 of at least 5 runs; the tolerances in gate.yaml are used" in out

    def test_metrics_without_a_rule_are_counted_and_listed_on_request(self, gated, latentlab):
        assert "1 metric without a rule (--verbose lists them)" in latentlab("gate").out
        assert "1 metric without a rule: evaluate/epochs" in latentlab("gate", "--verbose").out


class TestFormats:
    def test_json_is_one_object(self, gated, latentlab):
        store_noisy_baseline(gated)
        for mse, code, verdict in ((0.1, 0, "passed"), (0.2, 1, "failed")):
            write_results(gated, mse=mse, accuracy=0.9)

            answer = latentlab("gate", "--format", "json")

            tree = json.loads(answer.out)
            assert (answer.code, tree["verdict"], tree["dataset"]) == (code, verdict, "digits")
            assert tree["policy"]["metrics"][MSE]["smallest_effect"] == 0.0001
            assert [len(side["runs"]) for side in tree["sides"].values()] == [5, 1]
            assert tree["sides"]["now"]["runs"][0]["seed"] == 0
            metric = {each["metric"]: each for each in tree["metrics"]}[MSE]
            assert metric.pop("allowed") == metric.pop("noise") == pytest.approx(0.0048, rel=0.01)
            assert metric.pop("confidence") == pytest.approx([0.5, 1][code], rel=1e-5)
            assert metric == {
                "metric": MSE,
                "status": ["same", "worse"][code],
                "fails": bool(code),
                "direction": "lower",
                "informational": False,
                "baseline": 0.1,
                "std": pytest.approx(0.00158, rel=0.01),
                "n": 5,
                "now": mse,
                "change": pytest.approx(mse - 0.1),
                "noise_source": "seeds",
                "explained": None,
                "images": None,
            }

    @pytest.mark.parametrize("output_format", ["json", "junit", "markdown"])
    def test_every_format_reports_why_the_gate_cannot_judge(self, gated, latentlab, output_format):
        write_results(gated, accuracy=0.9)

        answer = latentlab("gate", "--format", output_format)

        assert answer.code == 2
        assert f"{MSE}: missing in outputs/" in answer.out
        assert f"{MSE}: missing in outputs/" in answer.err
        assert "cannot judge" in answer.out
        if output_format == "json":
            assert json.loads(answer.out)["metrics"] == []

    def test_json_is_written_if_params_yaml_is_invalid(self, gated, latentlab):
        gated.params.write_text("data: 1\n")

        answer = latentlab("gate", "--format", "json")

        assert (answer.code, json.loads(answer.out)["verdict"]) == (2, "cannot judge")

    def test_junit_has_one_test_case_per_metric(self, gated, latentlab):
        write_results(gated, mse=0.2, accuracy=0.9)

        suite = ElementTree.fromstring(latentlab("gate", "--format", "junit").out)

        assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
        failed = [case.get("name") for case in suite if case.find("failure") is not None]
        assert failed == [MSE]

    def test_markdown_is_a_table(self, gated, latentlab, message):
        write_results(gated, mse=0.2, accuracy=0.9)
        message("gate/markdown", latentlab("gate", "--format", "markdown").out)

    def test_the_summary_of_a_github_job_gets_the_markdown(
        self, gated, latentlab, tmp_path, monkeypatch
    ):
        summary = tmp_path / "summary.md"
        summary.write_text("before\n")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

        latentlab("gate")
        write_results(gated, accuracy=0.9)
        latentlab("gate")

        text = summary.read_text()
        assert text.startswith("before\n### Gate: digits passed\n")
        assert "### Gate: cannot judge" in text


class TestStaleness:
    def stop(self, root):
        raise ParamsError("the outputs are stale")

    def test_stale_outputs_are_neither_judged_nor_accepted(self, gated, error, monkeypatch):
        monkeypatch.setattr(gate, "check_current", self.stop)
        before = baseline_path(gated.root, "digits").read_text()

        assert error() == error("--accept") == "the outputs are stale"
        assert baseline_path(gated.root, "digits").read_text() == before

    def test_stale_ok_is_stated_in_the_verdict(self, gated, latentlab, monkeypatch):
        monkeypatch.setattr(gate, "check_current", self.stop)

        answer = latentlab("gate", "--stale-ok")
        tree = json.loads(latentlab("gate", "--stale-ok", "--format", "json").out)

        assert answer.code == 0
        assert f"warning: {gate.STALE}" in answer.out
        assert answer.out.rstrip().endswith(f"gate passed: 2 metrics; {gate.STALE}")
        assert gate.STALE in latentlab("gate", "--stale-ok", "--format", "junit").out
        assert gate.STALE in tree["warnings"]


class TestAcceptance:
    def accepted(self, checkout):
        return read_baseline(baseline_path(checkout.root, "digits"))

    def test_the_current_run_becomes_the_baseline_with_its_provenance(self, gated, latentlab):
        write_results(gated, mse=0.05, accuracy=0.95)

        answer = latentlab("gate", "--accept")

        assert answer.code == 0
        assert "1 run accepted; commit it" in answer.err
        assert MSE in answer.out  # the comparison
        (run,) = self.accepted(gated).runs
        assert run.metrics == {"evaluate/epochs": 3, MSE: 0.05, ACCURACY: 0.95}
        assert (run.seed, run.device, set(run.packages)) == (
            *(0, str(select_device("auto"))),
            {"latentlab", "numpy", "python", "torch"},
        )
        assert run.fingerprint
        assert run.processor
        assert self.accepted(gated).accepted.startswith("20")

    def test_a_run_that_may_be_stale_is_marked(self, gated, latentlab):
        latentlab("gate", "--accept", "--stale-ok")

        assert self.accepted(gated).runs[0].note == gate.STALE

    def test_a_first_baseline_needs_no_reason(self, gated, latentlab):
        baseline_path(gated.root, "digits").unlink()

        assert latentlab("gate", "--accept").code == 0
        assert latentlab("gate").code == 0

    @pytest.mark.parametrize("add", [[], ["--add"]], ids=["replace", "add"])
    def test_worse_metrics_need_a_reason_which_is_stored(self, gated, latentlab, add, message):
        assert latentlab("gate", "--accept").code == 0
        before = self.accepted(gated)
        write_results(gated, mse=0.2, accuracy=0.9)
        gated.params.write_text(gated.params.read_text().replace("  seed: 0", "  seed: 1"))

        answer = latentlab("gate", "--accept", *add)

        assert answer.code == 2
        assert f"{MSE}: 0.1 -> 0.2" in answer.out
        message("gate/accept: no reason", answer.err)
        assert self.accepted(gated) == before

        assert latentlab("gate", "--accept", *add, "--reason", "smaller network").code == 0
        assert self.accepted(gated).reason == "smaller network"
        assert [run.metrics[MSE] for run in self.accepted(gated).runs][-1] == 0.2

    def test_json_of_a_refused_acceptance_is_one_object(self, gated, latentlab):
        write_results(gated, mse=0.2, accuracy=0.9)

        answer = latentlab("gate", "--accept", "--format", "json")

        assert (answer.code, json.loads(answer.out)["verdict"]) == (2, "failed")

    def test_a_damaged_baseline_is_not_replaced_without_a_reason(self, gated, latentlab, message):
        baseline_path(gated.root, "digits").write_text("{}")

        answer = latentlab("gate", "--accept")

        assert answer.code == 2
        message("gate/accept: damaged baseline", answer.err)
        assert latentlab("gate", "--accept", "--reason", "it was damaged").code == 0

    def test_runs_with_other_seeds_are_added(self, gated, latentlab):
        latentlab("gate", "--accept")
        assert latentlab("gate", "--accept", "--add").code == 2  # the same run
        params = gated.params.read_text()
        for seed in (1, 2, 3, 4):
            gated.params.write_text(params.replace("  seed: 0", f"  seed: {seed}"))
            write_results(gated, mse=0.1 + seed / 1000, accuracy=0.9)
            assert latentlab("gate", "--accept", "--add").code == 0

        assert [run.seed for run in self.accepted(gated).runs] == [0, 1, 2, 3, 4]
        assert "the noise is unknown" not in latentlab("gate").out

    def test_one_run_does_not_replace_many_without_a_reason(self, gated, latentlab, message):
        runs = [accepted_run(seed, mse=0.1 + seed / 1000, accuracy=0.9) for seed in range(5)]
        store_baseline(gated, *runs)

        answer = latentlab("gate", "--accept")

        assert answer.code == 2
        message("gate/accept: one run instead of five", answer.err)
        assert len(self.accepted(gated).runs) == 5
        assert latentlab("gate", "--accept", "--reason", "a faster network").code == 0

    def test_json_without_a_comparison_states_the_error(self, gated, latentlab):
        write_results(gated, mse=-1, accuracy=0.9)

        answer = latentlab("gate", "--accept", "--format", "json")

        assert (answer.code, json.loads(answer.out)["verdict"]) == (2, "cannot judge")

    @pytest.mark.parametrize(
        ("name", "results"),
        {
            "missing": {"mse": 0.1},
            "NaN": {"mse": 0.1, "accuracy": float("nan")},
            "impossible": {"mse": -1, "accuracy": 0.9},
        }.items(),
    )
    def test_incomplete_or_invalid_results_are_not_accepted(self, gated, error, name, results):
        before = self.accepted(gated)
        write_results(gated, **results)

        assert "evaluate/test/" in error("--accept", "--reason", "because")
        assert self.accepted(gated) == before

    def test_a_run_without_a_lock_is_not_accepted(self, gated, error, message):
        (gated.root / "dvc.lock").unlink()
        message("gate/accept: no dvc.lock", error("--accept"))


def test_the_verdict_is_tagged_on_the_evaluated_runs(gated, latentlab, monkeypatch):
    tagged = []
    monkeypatch.setattr(gate, "tag_verdict", lambda project, *tags: tagged.append(tags))
    write_results(gated, mse=0.2, accuracy=0.9)

    latentlab("gate")

    ((dataset, digest, summary, changes),) = tagged
    assert (dataset, len(digest), summary) == ("digits", 64, f"failed: {MSE}")
    assert changes == [f"{MSE}: 0.1 -> 0.2 (worse by 0.1, allowed 0.01)"]


def test_a_store_that_cannot_be_used_does_not_change_the_verdict(gated, latentlab, monkeypatch):
    def fail(*arguments):
        raise EnvironmentProblem("the server does not answer")

    monkeypatch.setattr(gate, "tag_verdict", fail)

    answer = latentlab("gate")

    assert answer.code == 0
    expected = "warning: the verdict is not in MLflow: the server does not answer\n"
    assert answer.err == expected
