"""Which changes the gate allows, and what it cannot compare."""

import re

import numpy as np
import pytest

from gated import (
    ACCURACY,
    MSE,
    POLICY,
    accepted_run,
    make_baseline,
    store_baseline,
    write_dataset,
    write_pipeline,
    write_policy,
    write_results,
)
from latentlab.common.files import write_json
from latentlab.gate.noise import Noise
from latentlab.gate.policy import Policy, Rule
from latentlab.gate.verdict import compare, compare_metric

LEVEL = 0.05
REAL = "evaluate/test/real"


def rule(direction="lower", smallest_effect=0.0, **settings):
    return Rule(direction=direction, smallest_effect=smallest_effect, **settings)


def status(rule, values, value, level=LEVEL):
    return compare_metric("m", rule, Noise.of(values), value, level).status


SPREAD = [0.9, 1.0, 1.1, 0.95, 1.05]
"""Values of five runs, whose noise at this level is 0.185."""


@pytest.mark.parametrize(
    ("settings", "values", "value", "expected"),
    [
        ({}, SPREAD, 1.0, "same"),
        ({}, SPREAD, 1.18, "same"),
        ({}, SPREAD, 1.19, "worse"),
        ({}, SPREAD, 0.81, "better"),
        ({"smallest_effect": 0.5}, SPREAD, 1.49, "same"),
        ({"smallest_effect": 0.5}, SPREAD, 1.51, "worse"),
        ({"tolerance": 9.0}, SPREAD, 1.19, "worse"),
        ({"relative_tolerance": 9.0}, SPREAD, 1.19, "worse"),
        ({"tolerance": 0.5}, [1.0], 1.49, "same"),
        ({"tolerance": 0.5}, [1.0], 1.51, "worse"),
        ({"tolerance": 0.5}, [1.0], 0.49, "better"),
        ({"relative_tolerance": 0.5}, [-100.0], -60.0, "same"),
        ({"relative_tolerance": 0.5}, [-100.0], -49.0, "worse"),
        ({"smallest_effect": 0.5, "tolerance": 0.1}, [1.0], 1.4, "same"),
        ({"tolerance": 0.5}, SPREAD[:4], 1.4, "same"),
        ({}, [1.0], 1.0, "same"),
        ({}, [1.0], 1.0 + 1e-12, "worse"),
        ({}, [1.0] * 5, 1.0, "same"),
        ({}, [1.0] * 5, 1.0 + 1e-12, "worse"),
        ({"smallest_effect": 0.1}, [1.0] * 5, 1.05, "same"),
    ],
)
def test_the_larger_of_smallest_effect_and_noise_is_allowed(settings, values, value, expected):
    assert status(rule(**settings), values, value) == expected
    assert status(rule("higher", **settings), [-v for v in values], -value) == expected


def test_a_comparison_states_the_noise_only_if_it_is_known():
    known = compare_metric("m", rule(), Noise.of(SPREAD), 1.1, LEVEL)
    unknown = compare_metric("m", rule(tolerance=0.5), Noise.of(SPREAD[:4]), 1.1, LEVEL)

    assert known.noise == known.allowed == pytest.approx(0.1846, abs=1e-4)
    assert known.confidence == pytest.approx(0.844, abs=1e-3)
    assert (unknown.noise, unknown.confidence, unknown.allowed) == (None, None, 0.5)


def policy_of(**rules):
    return Policy(metrics=rules)


def test_the_level_is_shared_by_the_metrics_that_can_fail():
    runs = [accepted_run(seed, a=x, b=x, c=x) for seed, x in enumerate(SPREAD)]
    rules = {f"evaluate/test/{name}": rule() for name in "abc"}
    rules["evaluate/test/c"] = rule(informational=True)
    values = dict.fromkeys(rules, 1.0)

    verdict = compare(policy_of(**rules), make_baseline(*runs), values, "b")

    assert verdict.level == 0.05 / 2


def test_the_worst_metric_comes_first():
    runs = [accepted_run(a=1.0, b=1.0, c=1.0, d=1.0, e=1.0)]
    allowed = {"a": 0.01, "b": 1.0, "c": 0.0, "d": 0.0, "e": 0.1}
    rules = {f"evaluate/test/{k}": rule(smallest_effect=v) for k, v in allowed.items()}
    now = {"a": 1.005, "b": 3.0, "c": 1.001, "d": 0.999, "e": 0.95}
    values = {f"evaluate/test/{k}": v for k, v in now.items()}

    verdict = compare(policy_of(**rules), make_baseline(*runs), values, "b")

    assert [each.metric[-1] for each in verdict.comparisons] == ["c", "b", "a", "e", "d"]
    assert [each.status for each in verdict.comparisons] == [
        *("worse", "worse", "same", "same", "better")
    ]
    assert verdict.summary == "failed: evaluate/test/c, evaluate/test/b"


def test_an_informational_metric_never_fails_the_gate():
    rules = {MSE: rule(), ACCURACY: rule("higher", informational=True)}
    baseline = make_baseline(accepted_run(mse=0.1, accuracy=0.9))

    verdict = compare(policy_of(**rules), baseline, {MSE: 0.1, ACCURACY: 0.1}, "b")

    assert verdict.passed
    assert verdict.comparisons[0].status == "worse"


def test_the_report_states_how_much_of_a_change_the_control_explains(gated, latentlab):
    """Here the distance between real images doubled, so that of generated images would too."""
    rule = f"{{direction: lower, smallest_effect: 1, control: {REAL}}}"
    write_policy(gated, f"metrics: {{evaluate/test/gan: {rule}}}")
    store_baseline(gated, accepted_run(gan=10.0, real=1.0))
    write_results(gated, gan=25.0, real=2.0)

    answer = latentlab("gate")

    expected = f"evaluate/test/gan: 10 -> 25 (worse by 15, allowed 1); {REAL} explains +10 of +15"
    assert answer.code == 1
    assert expected in answer.out.splitlines()


def test_a_control_that_is_missing_is_an_error(gated, error, message):
    policy = POLICY.replace("min: 0}", "min: 0, control: evaluate/test/rael}", 1)
    write_policy(gated, policy)
    write_results(gated, mse=0.1, accuracy=0.9, real=1.0)
    message("gate/control is missing", error())


def test_a_baseline_without_the_control_explains_nothing(gated, latentlab):
    write_policy(gated, POLICY.replace("min: 0}", f"min: 0, control: {REAL}}}", 1))
    write_results(gated, mse=0.2, accuracy=0.9, real=1.0)

    answer = latentlab("gate")

    assert answer.code == 1
    assert "explains" not in answer.out


CANNOT_COMPARE = {
    "missing metric": {"accuracy": 0.9},
    "misspelled metric": {"mes": 0.1, "accuracy": 0.9},
    "all missing": {},
    "NaN": {"mse": float("nan"), "accuracy": 0.9},
    "infinity": {"mse": float("inf"), "accuracy": 0.9},
    "minus infinity": {"mse": float("-inf"), "accuracy": 0.9},
    "text": {"mse": "0.1", "accuracy": 0.9},
    "null": {"mse": None, "accuracy": 0.9},
    "list": {"mse": [0.1], "accuracy": 0.9},
    "true": {"mse": True, "accuracy": 0.9},
    "huge number": {"mse": 10**400, "accuracy": 0.9},
    "negative error": {"mse": -0.001, "accuracy": 0.9},
    "accuracy above 1": {"mse": 0.1, "accuracy": 1.001},
    "accuracy in percent": {"mse": 0.1, "accuracy": 90},
    "several": {"mse": -1, "accuracy": None},
}


@pytest.mark.parametrize(("name", "results"), CANNOT_COMPARE.items())
def test_metrics_that_cannot_be_compared_are_errors(gated, error, message, name, results):
    write_results(gated, **results)
    message(f"gate/metrics: {name}", error())


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "1", "<<<<<<< HEAD", '{"test": {"mse": 1, "mse": 2}}', '{"a": ' * 9999],
    ids=["empty", "list", "number", "conflict", "duplicate", "deep"],
)
def test_invalid_files_of_metrics_are_errors(gated, error, text):
    path = gated.outputs("evaluate") / "metrics.json"
    path.write_text(text)
    assert str(path) in error()


def test_a_required_metric_must_be_in_the_baseline(gated, error, message):
    store_baseline(gated, accepted_run(mse=0.1))
    message("gate/metric missing in the baseline", error())


def test_nothing_in_common_is_an_error(gated, error, message):
    optional = POLICY.replace("min:", "required: false, min:")
    write_policy(gated, optional)
    store_baseline(gated, accepted_run(elbo=1.0))
    message("gate/no metric compared", error())

    write_policy(gated, POLICY.replace("min:", "informational: true, min:"))
    store_baseline(gated, accepted_run(mse=0.1, accuracy=0.9))
    assert "compared no metric" in error()


def test_an_optional_metric_that_is_missing_on_one_side_is_a_warning(gated, latentlab, message):
    optional = "{direction: lower, smallest_effect: 1, required: false}"
    write_policy(gated, POLICY + f"  evaluate/test/*/mse: {optional}\n")
    write_results(gated, mse=0.1, accuracy=0.9, new={"mse": 0.1})
    store_baseline(gated, accepted_run(**{"mse": 0.1, "accuracy": 0.9, "old/mse": 0.1}))

    answer = latentlab("gate")

    assert answer.code == 0
    message(
        "gate/not compared", "\n".join(x for x in answer.out.split("\n") if "not compared" in x)
    )


def test_a_value_that_is_too_good_to_be_true_is_a_warning(gated, latentlab, message):
    write_results(gated, mse=0.1, accuracy=1.0)

    answer = latentlab("gate")

    assert answer.code == 0
    (line,) = [text for text in answer.out.splitlines() if "too good" in text]
    message("gate/too good to be true", line)


def test_every_stage_of_the_pipeline_must_have_finished(gated, error, message):
    write_pipeline(gated, "stages: {fetch: {}, train: {}, evaluate: {}}")
    message("gate/unfinished stage", error())

    (gated.outputs("train") / "model").mkdir(parents=True)
    message("gate/unfinished stage", error())


def test_each_entry_of_a_foreach_stage_must_have_finished(gated, error, latentlab, message):
    write_pipeline(gated, "stages: {fetch: {}, evaluate: {}, compare: {foreach: x}}")
    text = gated.params.read_text()
    gated.params.write_text(re.sub(r"(?s)\ncompare:.*?\n(?=\w)", OPTIMIZERS, text))
    message("gate/unfinished entry of a foreach stage", error())

    write_json(gated.outputs("compare/optimizer") / "metrics.json", {"epochs": 3})
    assert "compare/optimizer/epochs" in latentlab("gate", "--verbose").out


OPTIMIZERS = """
compare:
  optimizer: {parameter: train.optimizer, values: [adam, sgd], epochs: 1}
"""


def test_outputs_of_a_removed_entry_of_a_foreach_stage_are_ignored(gated, latentlab):
    """After a change of branch, Git leaves the plots behind, which it ignores."""
    (gated.outputs("compare/removed") / "plots").mkdir(parents=True)
    assert latentlab("gate").code == 0

    write_json(gated.outputs("compare/removed") / "metrics.json", {"epochs": 3})
    assert "removed" not in latentlab("gate", "--verbose").out


@pytest.mark.parametrize("text", ["", "stages:", "stages: [a]", "vars: []"])
def test_a_pipeline_without_stages_is_an_error(gated, error, text):
    write_pipeline(gated, text)
    assert "dvc.yaml" in error()


def test_results_of_another_dataset_are_an_error(gated, error, message):
    write_dataset(gated, "mnist")
    message("gate/results of another dataset", error())


def test_results_of_an_unknown_dataset_are_an_error(gated, error, message):
    """In a fresh clone, metrics.json files are in Git and dataset.json is not."""
    (gated.outputs("fetch") / "dataset.json").unlink()
    message("gate/results of an unknown dataset", error())


def random_case(random):
    """Return a random rule, accepted values and a new value."""
    settings = {name: float(random.exponential(0.5)) for name in ("smallest_effect", "tolerance")}
    values = random.normal(random.normal(), random.exponential(), random.integers(1, 9)).tolist()
    return settings, values, float(random.normal())


ORDER = {"better": 0, "same": 1, "worse": 2}


def test_a_tighter_policy_never_turns_worse_into_same():
    random = np.random.default_rng(0)
    for _ in range(500):
        settings, values, value = random_case(random)
        tighter = {name: limit * random.random() for name, limit in settings.items()}
        level = float(random.uniform(0.001, 0.3))
        before = status(rule(**settings), values, value, level)
        for after in (
            status(rule(**tighter), values, value, level),
            status(rule(**settings), values, value, min(level * 2, 0.4)),
        ):
            assert before == "same" or after == before, (settings, values, value)


def test_mirroring_the_direction_mirrors_the_verdict():
    random = np.random.default_rng(1)
    mirror = {"better": "worse", "worse": "better", "same": "same"}
    for _ in range(500):
        settings, values, value = random_case(random)
        lower = status(rule("lower", **settings), values, value)
        assert status(rule("higher", **settings), values, value) == mirror[lower]


def test_a_worse_value_never_gives_a_better_verdict():
    random = np.random.default_rng(2)
    for _ in range(500):
        settings, values, value = random_case(random)
        worse = value + float(random.exponential())
        before, after = (status(rule(**settings), values, v) for v in (value, worse))
        assert ORDER[after] >= ORDER[before]


def test_the_order_of_metrics_rules_and_runs_is_irrelevant():
    random = np.random.default_rng(3)
    names = [f"evaluate/test/{name}" for name in "abcdef"]
    for _ in range(50):
        rules = {name: rule(smallest_effect=float(random.random())) for name in names}
        values = {name: float(random.normal()) for name in names}
        runs = [
            accepted_run(seed, **{name[-1]: float(random.normal()) for name in names})
            for seed in range(6)
        ]
        shuffled = random.permutation(names)
        first = compare(policy_of(**rules), make_baseline(*runs), values, "b")
        second = compare(
            policy_of(**{name: rules[name] for name in shuffled}),
            make_baseline(*random.permutation(np.array(runs, dtype=object))),
            {name: values[name] for name in random.permutation(names)},
            "b",
        )
        assert [c.metric for c in first.comparisons] == [c.metric for c in second.comparisons]
        assert [c.status for c in first.comparisons] == [c.status for c in second.comparisons]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e308])
def test_an_unknown_value_never_passes(value):
    """Values are checked before, and a comparison of NaN must not pass either."""
    assert status(rule(tolerance=1.0), SPREAD, value) != "same"
