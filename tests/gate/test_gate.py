import json
import math

import numpy as np
import pytest

from latentlab.common.errors import ParamsError
from latentlab.common.files import read_json, write_json
from latentlab.gate.gate import Policy, accept, compare_with_baseline, read_metrics
from latentlab.params.yaml_io import read_plain

MSE, ACCURACY = "evaluate/test/mse", "evaluate/test/accuracy"
POLICY = f"""\
noise: 3.0
metrics:
  {MSE}: {{direction: lower, absolute: 0.01}}
  {ACCURACY}: {{direction: higher, absolute: 0.02}}
"""


@pytest.fixture
def gated(checkout):
    """A checkout with a policy of two metrics, and with results that equal their baseline."""
    write_policy(checkout, POLICY)
    write_results(checkout, mse=0.1, accuracy=0.9)
    write_baseline(checkout, mse=0.1, accuracy=0.9)
    return checkout


def write_policy(checkout, text):
    (checkout.root / "gate.yaml").write_text(text)


def write_dataset(checkout, name="digits"):
    write_json(checkout.outputs("fetch") / "dataset.json", {"name": name})
    write_json(checkout.outputs("fetch") / "metrics.json", {})


def write_results(checkout, **metrics):
    write_dataset(checkout)
    folder = checkout.outputs("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    # unlike write_json, the json module writes NaN, as other programs may
    (folder / "metrics.json").write_text(json.dumps({"test": metrics, "epochs": 3}))


def write_baseline(checkout, std=0.0, n=1, **means):
    metrics = {f"evaluate/test/{m}": {"mean": v, "std": std, "n": n} for m, v in means.items()}
    write_json(checkout.baselines / "digits.json", {"dataset": "digits", "metrics": metrics})


def verdict(checkout, metric=MSE):
    return {v.metric: v for v in compare_with_baseline(checkout, "digits")}[metric]


def error(checkout):
    """Return the message of the error that the comparison raises."""
    with pytest.raises(ParamsError) as caught:
        compare_with_baseline(checkout, "digits")
    assert caught.value.exit_code == 2
    return str(caught.value)


class TestComparison:
    def test_a_metric_that_equals_its_baseline_passes(self, gated):
        assert [v.worse for v in compare_with_baseline(gated, "digits")] == [False, False]

    def test_a_metric_whose_better_direction_is_lower_becomes_worse_by_rising(self, gated):
        for mse, worse in ((0.2, True), (0.105, False), (0.0, False)):
            write_results(gated, mse=mse, accuracy=0.9)
            assert verdict(gated, MSE).worse is worse, mse

    def test_a_metric_whose_better_direction_is_higher_becomes_worse_by_falling(self, gated):
        for accuracy, worse in ((0.8, True), (0.89, False), (1.0, False)):
            write_results(gated, mse=0.1, accuracy=accuracy)
            assert verdict(gated, ACCURACY).worse is worse, accuracy

    @pytest.mark.parametrize(
        ("absolute", "relative", "noise", "std", "allowed"),
        [
            (0.5, 0.125, 1.0, 0.25, 0.5),
            (0.125, 0.25, 1.0, 0.25, 0.5),
            (0.125, 0.125, 2.0, 0.25, 0.5),
            (0.0, 0.0, 0.0, 0.0, 0.0),
        ],
        ids=["absolute", "relative", "noise", "none"],
    )
    def test_the_largest_of_absolute_relative_and_noise_is_allowed(
        self, gated, absolute, relative, noise, std, allowed
    ):
        rule = f"{{direction: lower, absolute: {absolute}, relative: {relative}}}"
        write_policy(gated, f"noise: {noise}\nmetrics:\n  {MSE}: {rule}\n")
        write_baseline(gated, mse=2.0, std=std, n=4)
        write_results(gated, mse=2.0 + allowed)

        assert verdict(gated).allowed == allowed
        assert not verdict(gated).worse

        write_results(gated, mse=2.0 + allowed + 0.001)
        assert verdict(gated).worse

    def test_a_relative_tolerance_uses_the_absolute_value_of_a_negative_baseline(self, gated):
        rule = "{direction: higher, relative: 0.5}"
        write_policy(gated, f"noise: 0\nmetrics: {{evaluate/test/elbo: {rule}}}")
        write_baseline(gated, elbo=-100.0)
        write_results(gated, elbo=-140.0)

        assert verdict(gated, "evaluate/test/elbo").allowed == 50.0
        assert not verdict(gated, "evaluate/test/elbo").worse

    def test_verdicts_are_sorted_by_their_change_relative_to_what_is_allowed(self, gated):
        names = {"a": 0.01, "b": 1.0, "c": 0.0, "d": 0.0, "e": 0.1}
        rules = "".join(
            f"  evaluate/test/{name}: {{direction: lower, absolute: {allowed}}}\n"
            for name, allowed in names.items()
        )
        write_policy(gated, f"noise: 0\nmetrics:\n{rules}")
        write_baseline(gated, **dict.fromkeys(names, 1.0))
        write_results(gated, a=1.005, b=3.0, c=1.001, d=0.999, e=0.9)

        verdicts = compare_with_baseline(gated, "digits")

        assert [v.metric[-1] for v in verdicts] == ["c", "b", "a", "e", "d"]
        assert [v.worse for v in verdicts] == [True, True, False, False, False]
        relative = [v.relative_change for v in verdicts]
        assert relative == pytest.approx([math.inf, 2, 0.5, -1, -math.inf])

    def test_a_change_is_positive_if_the_metric_became_worse_in_either_direction(self, gated):
        write_results(gated, mse=0.2, accuracy=0.7)

        assert verdict(gated, MSE).change == pytest.approx(0.1)
        assert verdict(gated, ACCURACY).change == pytest.approx(0.2)

    def test_a_metric_that_is_not_required_may_be_missing(self, gated):
        write_policy(gated, POLICY + "  vae/beta: {direction: lower, required: false}\n")

        assert len(compare_with_baseline(gated, "digits")) == 2


class TestErrors:
    def test_all_missing_or_invalid_metrics_are_listed_with_suggestions(self, gated, message):
        write_results(gated, mes=0.1, accuracy=float("nan"))
        message("gate/missing metric and NaN", error(gated))

        write_results(gated, mse=0.1, accuracy=0.9)
        write_baseline(gated, mse=0.1)
        message("gate/metric missing in the baseline", error(gated))

    def test_a_value_that_is_not_a_finite_number_is_an_error(self, gated):
        for value in (float("nan"), float("inf"), "0.1", None, [0.1]):
            write_results(gated, mse=value, accuracy=0.9)
            assert f"{MSE}: {value!r} is not a finite number" in error(gated)

    def test_a_stage_without_metrics_did_not_finish(self, gated, message):
        (gated.outputs("train") / "model").mkdir(parents=True)
        message("gate/unfinished stage", error(gated))

    def test_each_entry_of_a_foreach_stage_must_have_finished(self, gated, message):
        depth = {"8-16-32": {"validation": {"mse": 0.1}}}
        write_json(gated.outputs("compare/depth") / "metrics.json", depth)
        (gated.outputs("compare/optimizer") / "plots").mkdir(parents=True)
        message("gate/unfinished entry of a foreach stage", error(gated))

        write_json(gated.outputs("compare/optimizer") / "metrics.json", {})

        metrics = read_metrics(gated, "digits")
        assert metrics["compare/depth/8-16-32/validation/mse"] == 0.1
        assert verdict(gated).worse is False

    def test_outputs_of_a_removed_entry_of_a_foreach_stage_are_ignored(self, gated):
        """After a change of branch, Git leaves the plots behind, which it ignores."""
        (gated.outputs("compare/removed") / "plots").mkdir(parents=True)
        assert verdict(gated).worse is False

        write_json(gated.outputs("compare/removed") / "metrics.json", {"epochs": 3})
        assert "compare/removed/epochs" not in read_metrics(gated, "digits")

    def test_a_missing_baseline_is_an_error(self, gated, message):
        (gated.baselines / "digits.json").unlink()
        message("gate/missing baseline", error(gated))

    def test_an_invalid_baseline_is_an_error(self, gated, message):
        path = gated.baselines / "digits.json"
        for text in (
            "",
            "[]",
            "{}",
            '{"metrics": []}',
            '{"metrics": {"x": 1}}',
            '{"metrics": {"x": {"mean": 1}}}',
            '{"metrics": {"x": {"mean": "1", "std": 0, "n": 1}}}',
        ):
            path.write_text(text)
            assert str(path) in error(gated), text
        path.write_text('{"metrics": {"x": {"mean": NaN, "std": 0, "n": 1}}}')
        message("gate/baseline with NaN", error(gated))

    def test_invalid_metrics_are_an_error(self, gated):
        path = gated.outputs("evaluate") / "metrics.json"
        for text in ("", "[1]", "<<<<<<< HEAD"):
            path.write_text(text)
            assert str(path) in error(gated), text

    def test_results_of_another_dataset_are_an_error(self, gated, message):
        write_dataset(gated, "mnist")
        message("gate/results of another dataset", error(gated))

    def test_results_of_an_unknown_dataset_are_an_error(self, gated, message):
        """In a fresh clone, metrics.json files are in Git and dataset.json is not."""
        (gated.outputs("fetch") / "dataset.json").unlink()
        message("gate/results of an unknown dataset", error(gated))

    def test_errors_in_the_policy_name_the_line(self, gated, message):
        mistakes = {
            "metrics missing": "noise: 3\n",
            "no metrics": "noise: 3\nmetrics: {}\n",
            "unknown direction": "metrics: {a: {direction: low}}\nnoise: 3\n",
            "direction missing": "metrics:\n  a: {absolute: 1}\nnoise: 3\n",
            "unknown key": "noise: 3\nmetrics:\n  a: {direction: lower, absolut: 1}\n",
            "negative noise": "noise: -1\nmetrics: {a: {direction: lower}}\n",
            "negative tolerance": "metrics: {a: {direction: lower, relative: -1}}\nnoise: 3",
            "no YAML": "noise: [\n",
            "empty file": "",
        }
        for name, text in mistakes.items():
            write_policy(gated, text)
            message(f"gate/policy: {name}", error(gated))

    def test_a_missing_policy_is_an_error(self, gated, message):
        (gated.root / "gate.yaml").unlink()
        message("gate/missing policy", error(gated))


class TestAcceptance:
    def accepted(self, checkout):
        return read_json(checkout.baselines / "digits.json")["metrics"]

    def test_the_current_metrics_become_the_baseline(self, gated):
        write_results(gated, mse=0.3, accuracy=0.5)

        accept(gated, "digits", add=False)

        assert self.accepted(gated) == {
            MSE: {"mean": 0.3, "std": 0.0, "n": 1},
            ACCURACY: {"mean": 0.5, "std": 0.0, "n": 1},
        }
        assert not any(v.worse for v in compare_with_baseline(gated, "digits"))

    def test_each_dataset_has_its_own_baseline(self, gated):
        write_dataset(gated, "mnist")
        accept(gated, "mnist", add=False)

        assert read_json(gated.baselines / "mnist.json")["dataset"] == "mnist"
        assert self.accepted(gated)[MSE]["mean"] == 0.1

    @pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
    def test_added_runs_give_their_mean_and_sample_standard_deviation(self, gated, scale):
        runs = np.random.default_rng(0).normal(5, 1, 6) * scale
        for number, mse in enumerate(runs):
            write_results(gated, mse=mse, accuracy=0.9)
            accept(gated, "digits", add=number > 0)

        accepted = self.accepted(gated)

        assert accepted[MSE]["n"] == 6
        assert accepted[MSE]["mean"] == pytest.approx(np.mean(runs), rel=1e-12)
        assert accepted[MSE]["std"] == pytest.approx(np.std(runs, ddof=1), rel=1e-9)
        assert accepted[ACCURACY] == {"mean": pytest.approx(0.9), "std": 0.0, "n": 6}

    def test_accepting_without_add_replaces_all_earlier_runs(self, gated):
        write_results(gated, mse=0.2, accuracy=0.8)
        accept(gated, "digits", add=True)
        accept(gated, "digits", add=False)

        assert self.accepted(gated)[MSE]["n"] == 1

    def test_a_metric_that_is_new_in_the_policy_starts_with_one_run(self, gated):
        write_policy(gated, POLICY + "  evaluate/test/new: {direction: lower}\n")
        write_results(gated, mse=0.1, accuracy=0.9, new=7.0)

        accept(gated, "digits", add=True)

        assert self.accepted(gated)["evaluate/test/new"] == {"mean": 7.0, "std": 0.0, "n": 1}
        assert self.accepted(gated)[MSE]["n"] == 2

    def test_incomplete_or_invalid_results_are_not_accepted(self, gated, message):
        before = self.accepted(gated)
        for name, results in {
            "missing": {"mse": 0.1},
            "invalid": {"mse": 0.1, "accuracy": float("nan")},
        }.items():
            write_results(gated, **results)
            with pytest.raises(ParamsError) as caught:
                accept(gated, "digits", add=False)
            message(f"gate/accept: {name} metric", caught.value)
        write_dataset(gated, "mnist")
        with pytest.raises(ParamsError):
            accept(gated, "digits", add=False)

        assert self.accepted(gated) == before

    def test_a_run_is_not_added_twice(self, gated, message):
        with pytest.raises(ParamsError) as caught:
            accept(gated, "digits", add=True)
        message("gate/run added twice", caught.value)

        write_results(gated, mse=0.1, accuracy=0.91)
        accept(gated, "digits", add=True)
        assert self.accepted(gated)[MSE]["n"] == 2

    def test_adding_a_run_requires_a_baseline(self, gated):
        (gated.baselines / "digits.json").unlink()
        with pytest.raises(ParamsError, match="does not exist"):
            accept(gated, "digits", add=True)


class TestCommand:
    def test_it_exits_with_0_if_no_metric_became_worse(self, gated, latentlab):
        answer = latentlab("gate")

        assert answer.code == 0
        assert "gate passed: 2 metrics" in answer.out
        assert "WORSE" not in answer.out

    def test_it_exits_with_1_and_names_the_metric_that_became_worse(self, gated, latentlab):
        write_results(gated, mse=0.2, accuracy=0.9)

        answer = latentlab("gate")

        assert answer.code == 1
        assert f"{MSE}: 0.1 -> 0.2 (worse by 0.1, allowed 0.01)" in answer.out.splitlines()
        assert "gate passed" not in answer.out

    def test_it_exits_with_2_if_it_cannot_compare(self, gated, latentlab, message):
        write_results(gated, accuracy=0.9)

        answer = latentlab("gate")

        assert answer.code == 2
        assert answer.out == ""
        message("gate/missing metric", answer.err)

    def test_json_output_has_all_values_of_each_verdict(self, gated, latentlab):
        for mse, code in ((0.1, 0), (0.2, 1)):
            write_results(gated, mse=mse, accuracy=0.9)

            answer = latentlab("gate", "--json")

            assert answer.code == code
            verdicts = {v["metric"]: v for v in json.loads(answer.out)}
            assert verdicts[MSE] == {
                "metric": MSE,
                "direction": "lower",
                "baseline": 0.1,
                "std": 0.0,
                "n": 1,
                "value": mse,
                "change": pytest.approx(mse - 0.1),
                "allowed": 0.01,
                "worse": bool(code),
            }

    def test_accept_and_add_write_the_baseline(self, gated, latentlab):
        accepted = latentlab("gate", "--accept")
        write_results(gated, mse=0.2, accuracy=0.8)
        added = latentlab("gate", "--accept", "--add")

        assert (accepted.code, added.code) == (0, 0)
        assert "digits.json: 2 metrics accepted; commit it" in added.err
        assert read_json(gated.baselines / "digits.json")["metrics"][MSE]["n"] == 2

    def test_add_without_accept_is_an_error(self, gated, latentlab):
        assert latentlab("gate", "--add").code == 2


def test_metrics_are_named_by_stage_split_and_metric(checkout):
    write_dataset(checkout)
    write_json(checkout.outputs("evaluate") / "metrics.json", {"test": {"vae": {"mse": 0.5}}})
    write_json(checkout.outputs("train") / "metrics.json", {"epochs": 3})

    assert read_metrics(checkout, "digits") == {"evaluate/test/vae/mse": 0.5, "train/epochs": 3}


def test_the_shipped_policy_is_valid_and_every_baseline_has_its_metrics(repository):
    policy = Policy.model_validate(read_plain(repository / "gate.yaml"))

    for path in (repository / "baselines").glob("*.json"):
        assert list(read_json(path)["metrics"]) == list(policy.metrics), path
