import json
import math

import numpy as np
import pytest

from latentlab.common.errors import ParamsError
from latentlab.common.files import read_json, write_json
from latentlab.gate.gate import accept, judge, read_metrics

LOWER, HIGHER = "evaluate/test/mse", "evaluate/test/accuracy"
POLICY = f"""\
noise: 3.0
metrics:
  {LOWER}: {{direction: lower, absolute: 0.01}}
  {HIGHER}: {{direction: higher, absolute: 0.02}}
"""


@pytest.fixture
def gated(checkout):
    """A checkout with a policy of two metrics, results, and a baseline that equals them."""
    policy(checkout, POLICY)
    results(checkout, mse=0.1, accuracy=0.9)
    baseline(checkout, mse=0.1, accuracy=0.9)
    return checkout


def policy(checkout, text):
    (checkout.root / "gate.yaml").write_text(text)


def data_dir(checkout):
    write_json(checkout.outputs("fetch") / "dataset.json", {"name": "digits"})
    write_json(checkout.outputs("fetch") / "metrics.json", {})


def results(checkout, **figures):
    data_dir(checkout)
    folder = checkout.outputs("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    # by the json module itself: it writes NaN, as a program of someone else might
    (folder / "metrics.json").write_text(json.dumps({"test": figures, "epochs": 3}))


def baseline(checkout, std=0.0, n=1, **means):
    metrics = {f"evaluate/test/{m}": {"mean": v, "std": std, "n": n} for m, v in means.items()}
    write_json(checkout.baselines / "digits.json", {"dataset": "digits", "metrics": metrics})


def verdict(checkout, metric=LOWER):
    return {v.metric: v for v in judge(checkout, "digits")}[metric]


def refusal(checkout):
    with pytest.raises(ParamsError) as caught:
        judge(checkout, "digits")
    assert caught.value.exit_code == 2
    return str(caught.value)


class TestJudgement:
    def test_what_equals_the_baseline_passes(self, gated):
        assert [v.worse for v in judge(gated, "digits")] == [False, False]

    @pytest.mark.parametrize(("mse", "worse"), [(0.2, True), (0.105, False), (0.0, False)])
    def test_a_metric_to_be_low_gets_worse_by_rising(self, gated, mse, worse):
        results(gated, mse=mse, accuracy=0.9)
        assert verdict(gated, LOWER).worse is worse

    @pytest.mark.parametrize(("accuracy", "worse"), [(0.8, True), (0.89, False), (1.0, False)])
    def test_a_metric_to_be_high_gets_worse_by_falling(self, gated, accuracy, worse):
        results(gated, mse=0.1, accuracy=accuracy)
        assert verdict(gated, HIGHER).worse is worse

    @pytest.mark.parametrize(
        ("absolute", "relative", "noise", "std", "allowed"),
        [
            (0.5, 0.0, 0.0, 0.0, 0.5),
            (0.0, 0.25, 0.0, 0.0, 0.5),
            (0.0, 0.0, 2.0, 0.25, 0.5),
            (0.5, 0.125, 1.0, 0.25, 0.5),
            (0.125, 0.25, 1.0, 0.25, 0.5),
            (0.125, 0.125, 2.0, 0.25, 0.5),
            (0.0, 0.0, 0.0, 0.0, 0.0),
        ],
    )
    def test_allowed_is_the_largest_of_absolute_relative_and_noise(
        self, gated, absolute, relative, noise, std, allowed
    ):
        rule = f"{{direction: lower, absolute: {absolute}, relative: {relative}}}"
        policy(gated, f"noise: {noise}\nmetrics:\n  {LOWER}: {rule}\n")
        baseline(gated, mse=2.0, std=std, n=4)
        results(gated, mse=2.0 + allowed)

        assert verdict(gated).allowed == allowed
        assert not verdict(gated).worse

        results(gated, mse=2.0 + allowed + 0.001)
        assert verdict(gated).worse

    def test_a_relative_allowance_is_of_the_size_of_a_negative_baseline(self, gated):
        policy(gated, "noise: 0\nmetrics: {evaluate/test/elbo: {direction: higher, relative: 0.5}}")
        baseline(gated, elbo=-100.0)
        results(gated, elbo=-140.0)

        assert verdict(gated, "evaluate/test/elbo").allowed == 50.0
        assert not verdict(gated, "evaluate/test/elbo").worse

    def test_the_worst_comes_first_in_units_of_what_is_allowed(self, gated):
        names = {"a": 0.01, "b": 1.0, "c": 0.0, "d": 0.0, "e": 0.1}
        rules = "".join(
            f"  evaluate/test/{name}: {{direction: lower, absolute: {allowed}}}\n"
            for name, allowed in names.items()
        )
        policy(gated, f"noise: 0\nmetrics:\n{rules}")
        baseline(gated, **dict.fromkeys(names, 1.0))
        results(gated, a=1.005, b=3.0, c=1.001, d=0.999, e=0.9)

        verdicts = judge(gated, "digits")

        assert [v.metric[-1] for v in verdicts] == ["c", "b", "a", "e", "d"]
        assert [v.worse for v in verdicts] == [True, True, False, False, False]
        assert [v.badness for v in verdicts] == pytest.approx([math.inf, 2, 0.5, -1, -math.inf])

    def test_the_change_is_positive_for_worse_whatever_the_direction(self, gated):
        results(gated, mse=0.2, accuracy=0.7)

        assert verdict(gated, LOWER).change == pytest.approx(0.1)
        assert verdict(gated, HIGHER).change == pytest.approx(0.2)

    def test_a_metric_that_is_not_required_may_be_missing(self, gated):
        policy(gated, POLICY + "  vae/beta: {direction: lower, required: false}\n")
        assert len(judge(gated, "digits")) == 2


class TestWhatCannotBeJudged:
    def test_a_missing_metric_is_told_with_the_nearest_and_all_others(self, gated):
        results(gated, mes=0.1, accuracy=float("nan"))

        message = refusal(gated)

        assert f"{LOWER}: missing in outputs/; did you mean 'evaluate/test/mes'?" in message
        assert f"{HIGHER}: is nan, not a finite number" in message

    def test_a_metric_missing_in_the_baseline_is_told(self, gated):
        baseline(gated, mse=0.1)
        assert f"{HIGHER}: missing in baselines/digits.json" in refusal(gated)

    @pytest.mark.parametrize("figure", [float("nan"), float("inf"), "0.1", None, [0.1]])
    def test_what_is_no_finite_number_is_told(self, gated, figure):
        results(gated, mse=figure, accuracy=0.9)
        assert f"{LOWER}: is {figure!r}, not a finite number" in refusal(gated)

    def test_a_stage_that_did_not_finish(self, gated):
        (gated.outputs("train") / "model").mkdir(parents=True, exist_ok=True)
        (gated.outputs("train") / "metrics.json").unlink(missing_ok=True)
        assert "train/metrics.json is missing: its stage did not finish" in refusal(gated)

    def test_a_comparison_has_a_folder_in_that_of_all_comparisons(self, gated):
        figures = {"8-16-32": {"validation": {"mse": 0.1}}}
        write_json(gated.outputs("compare/depth") / "metrics.json", figures)
        (gated.outputs("compare/optimizer") / "plots").mkdir(parents=True)
        assert "compare/optimizer/metrics.json is missing: its stage did not fi" in refusal(gated)

        write_json(gated.outputs("compare/optimizer") / "metrics.json", {})

        metrics = read_metrics(gated, "digits")
        assert metrics["compare/depth/8-16-32/validation/mse"] == 0.1
        assert verdict(gated).worse is False

    def test_what_a_comparison_that_is_no_more_has_left_is_not_judged(self, gated):
        """Git takes its metrics away with the branch, and leaves the pictures that it ignores."""
        (gated.outputs("compare/activation") / "plots").mkdir(parents=True)
        assert verdict(gated).worse is False

        write_json(gated.outputs("compare/activation") / "metrics.json", {"epochs": 3})
        assert "compare/activation/epochs" not in read_metrics(gated, "digits")

    def test_no_baseline_is_told_with_the_way_to_one(self, gated):
        (gated.baselines / "digits.json").unlink()
        message = refusal(gated)
        assert "no baseline" in message
        assert "`latentlab gate --accept`" in message

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"metrics": []}',
            '{"metrics": {"x": 1}}',
            '{"metrics": {"x": {"mean": 1}}}',
            '{"metrics": {"x": {"mean": "1", "std": 0, "n": 1}}}',
            '{"metrics": {"x": {"mean": NaN, "std": 0, "n": 1}}}',
        ],
    )
    def test_a_baseline_that_is_none(self, gated, text):
        (gated.baselines / "digits.json").write_text(text)
        assert f"{gated.baselines}/digits.json" in refusal(gated)

    @pytest.mark.parametrize("text", ["", "[1]", "<<<<<<< HEAD"])
    def test_metrics_that_are_none(self, gated, text):
        path = gated.outputs("evaluate") / "metrics.json"
        path.write_text(text)
        assert str(path) in refusal(gated)

    def test_results_of_another_dataset_than_params_yaml_names(self, gated):
        write_json(gated.outputs("fetch") / "dataset.json", {"name": "mnist"})
        assert (
            "data.name = 'digits', but outputs/ holds the results of 'mnist'; run `dvc repro` first"
        ) in refusal(gated)

    def test_results_of_nobody_knows_which_dataset(self, gated):
        """As in a fresh clone: metrics are in Git, what they are of is not."""
        (gated.outputs("fetch") / "dataset.json").unlink()
        assert "dataset.json is missing: run `dvc repro` first" in refusal(gated)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("noise: 3\n", "gate.yaml:1: metrics is missing"),
            ("noise: 3\nmetrics: {}\n", "gate.yaml:2: metrics: "),
            ("metrics: {a: {direction: low}}\nnoise: 3\n", "did you mean 'lower'?"),
            ("metrics:\n  a: {absolute: 1}\nnoise: 3\n", "gate.yaml:2: metrics.a.direction is mis"),
            ("noise: 3\nmetrics:\n  a: {direction: lower, absolut: 1}\n", "did you mean 'absolut"),
            ("noise: -1\nmetrics: {a: {direction: lower}}\n", "gate.yaml:1: noise = -1: must be"),
            ("nosie: 3\nmetrics: {a: {direction: lower}}\n", "nosie is not a known name; did you"),
            ("metrics: {a: {direction: lower, relative: -1}}\nnoise: 3", "a.relative = -1: must"),
            ("noise: [\n", "not valid YAML"),
            ("", "must be a mapping"),
        ],
    )
    def test_a_policy_with_mistakes_is_told_with_its_lines(self, gated, text, told):
        policy(gated, text)
        assert told in refusal(gated)

    def test_no_policy(self, gated):
        (gated.root / "gate.yaml").unlink()
        assert "gate.yaml does not exist" in refusal(gated)


class TestAcceptance:
    def accepted(self, checkout):
        return read_json(checkout.baselines / "digits.json")["metrics"]

    def test_the_metrics_at_hand_become_the_baseline(self, gated):
        results(gated, mse=0.3, accuracy=0.5)

        accept(gated, "digits", add=False)

        assert self.accepted(gated) == {
            LOWER: {"mean": 0.3, "std": 0.0, "n": 1},
            HIGHER: {"mean": 0.5, "std": 0.0, "n": 1},
        }

    def test_each_dataset_has_its_own(self, gated):
        write_json(gated.outputs("fetch") / "dataset.json", {"name": "mnist"})
        accept(gated, "mnist", add=False)

        assert read_json(gated.baselines / "mnist.json")["dataset"] == "mnist"
        assert self.accepted(gated)[LOWER]["mean"] == 0.1

    @pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
    def test_added_runs_give_their_mean_and_sample_deviation(self, gated, scale):
        runs = np.random.default_rng(0).normal(5, 1, 6) * scale
        for number, mse in enumerate(runs):
            results(gated, mse=mse, accuracy=0.9)
            accept(gated, "digits", add=number > 0)

        accepted = self.accepted(gated)

        assert accepted[LOWER]["n"] == 6
        assert accepted[LOWER]["mean"] == pytest.approx(np.mean(runs), rel=1e-12)
        assert accepted[LOWER]["std"] == pytest.approx(np.std(runs, ddof=1), rel=1e-9)
        assert accepted[HIGHER] == {"mean": pytest.approx(0.9), "std": 0.0, "n": 6}

    def test_a_new_acceptance_forgets_the_runs_before(self, gated):
        results(gated, mse=0.2, accuracy=0.8)
        accept(gated, "digits", add=True)
        accept(gated, "digits", add=False)
        assert self.accepted(gated)[LOWER]["n"] == 1

    def test_a_metric_that_is_new_in_the_policy_joins_with_its_first_run(self, gated):
        policy(gated, POLICY + "  evaluate/test/new: {direction: lower}\n")
        results(gated, mse=0.1, accuracy=0.9, new=7.0)

        accept(gated, "digits", add=True)

        assert self.accepted(gated)["evaluate/test/new"] == {"mean": 7.0, "std": 0.0, "n": 1}
        assert self.accepted(gated)[LOWER]["n"] == 2

    def test_what_is_accepted_passes(self, gated):
        results(gated, mse=0.7, accuracy=0.1)
        accept(gated, "digits", add=False)
        assert not any(v.worse for v in judge(gated, "digits"))

    @pytest.mark.parametrize("figures", [{"mse": 0.1}, {"mse": 0.1, "accuracy": float("nan")}])
    def test_incomplete_or_broken_results_are_not_accepted(self, gated, figures):
        results(gated, **figures)
        before = self.accepted(gated)

        with pytest.raises(ParamsError, match=r"not accepted; run `dvc repro` first:\n.*accuracy"):
            accept(gated, "digits", add=False)

        assert self.accepted(gated) == before

    def test_results_of_another_dataset_are_not_accepted(self, gated):
        write_json(gated.outputs("fetch") / "dataset.json", {"name": "mnist"})
        with pytest.raises(ParamsError, match="outputs/ holds the results of 'mnist'"):
            accept(gated, "digits", add=False)

    def test_the_run_of_the_baseline_is_not_added_to_it(self, gated):
        with pytest.raises(ParamsError, match="a run counts once"):
            accept(gated, "digits", add=True)
        results(gated, mse=0.1, accuracy=0.91)
        accept(gated, "digits", add=True)
        assert read_json(gated.baselines / "digits.json")["metrics"][LOWER]["n"] == 2

    def test_there_must_be_a_baseline_to_add_to(self, gated):
        (gated.baselines / "digits.json").unlink()
        with pytest.raises(ParamsError, match="no baseline"):
            accept(gated, "digits", add=True)


class TestCommand:
    def test_all_is_well(self, gated, latentlab):
        answer = latentlab("gate")

        assert answer.code == 0
        assert "gate passed: 2 metrics" in answer.out
        assert "WORSE" not in answer.out

    def test_a_metric_got_worse(self, gated, latentlab):
        results(gated, mse=0.2, accuracy=0.9)

        answer = latentlab("gate")

        assert answer.code == 1
        assert f"{LOWER} got worse: from 0.1 to 0.2, by 0.1 where 0.01 is allowed" in answer.out
        assert "gate passed" not in answer.out

    def test_it_cannot_be_judged(self, gated, latentlab):
        results(gated, accuracy=0.9)

        answer = latentlab("gate")

        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith("error: the gate cannot judge:\n")

    @pytest.mark.parametrize(("mse", "code"), [(0.1, 0), (0.2, 1)])
    def test_json_for_programs(self, gated, latentlab, mse, code):
        results(gated, mse=mse, accuracy=0.9)

        answer = latentlab("gate", "--json")

        assert answer.code == code
        judged = {v["metric"]: v for v in json.loads(answer.out)}
        assert judged[LOWER] == {
            "metric": LOWER,
            "direction": "lower",
            "baseline": 0.1,
            "std": 0.0,
            "n": 1,
            "value": mse,
            "change": pytest.approx(mse - 0.1),
            "allowed": 0.01,
            "worse": bool(code),
        }

    def test_accept_and_add(self, gated, latentlab):
        accepted = latentlab("gate", "--accept")
        results(gated, mse=0.2, accuracy=0.8)
        added = latentlab("gate", "--accept", "--add")

        assert (accepted.code, added.code) == (0, 0)
        assert "digits.json: 2 metrics accepted; commit it" in added.err
        assert read_json(gated.baselines / "digits.json")["metrics"][LOWER]["n"] == 2

    def test_add_alone_is_a_mistake(self, gated, latentlab):
        answer = latentlab("gate", "--add")

        assert answer.code == 2
        assert "--add goes with --accept" in answer.err


def test_figures_are_named_by_stage_split_and_metric(checkout):
    data_dir(checkout)
    write_json(checkout.outputs("evaluate") / "metrics.json", {"test": {"vae": {"mse": 0.5}}})
    write_json(checkout.outputs("train") / "metrics.json", {"epochs": 3})

    assert read_metrics(checkout, "digits") == {"evaluate/test/vae/mse": 0.5, "train/epochs": 3}


def test_the_shipped_policy_can_be_used(checkout):
    data_dir(checkout)
    baseline(checkout, mse=0.1)
    assert refusal(checkout).startswith("the gate cannot judge:\n")
