import pytest

from gated import MSE, POLICY, write_policy
from latentlab.common.files import read_json, write_json
from latentlab.gate.policy import Policy, matches, read_policy
from latentlab.params.yaml_io import read_plain

RULE = "{direction: lower, smallest_effect: 1"


@pytest.mark.parametrize(
    ("pattern", "metric", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("a/**", "a/b/c", True),
        ("**/mse", "a/b/mse", True),
        ("a/*/mse", "a/mse", False),
        ("a.b", "axb", False),
        ("a/m*", "a/mse", True),
    ],
)
def test_a_star_matches_one_part_of_a_name_and_two_match_any_text(pattern, metric, expected):
    assert matches(pattern, metric) is expected


def test_an_exact_name_beats_patterns_and_of_these_the_last_applies():
    rules = {"a/b": 1.0, "a/*": 2.0, "**": 3.0}
    policy = Policy.model_validate(
        {"metrics": {k: {"direction": "lower", "smallest_effect": v} for k, v in rules.items()}}
    )

    assert policy.rule_of("a/b").smallest_effect == 1.0
    assert policy.rule_of("a/c").smallest_effect == 3.0
    assert Policy(metrics={"a": policy.metrics["a/b"]}).rule_of("b") is None


def test_a_profile_overrides_single_settings(checkout):
    override = f"profiles: {{digits: {{{MSE}: {{smallest_effect: 0.5}}}}}}\n"
    write_policy(checkout, POLICY + override)

    rule = read_policy(checkout, "digits").metrics[MSE]
    assert (rule.smallest_effect, rule.min) == (0.5, 0)
    assert read_policy(checkout, "mnist").metrics[MSE].smallest_effect == 0.01


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics missing", "false_alarms: 0.05\n"),
        ("no metrics", "metrics: {}\n"),
        ("no rules", "metrics:\n"),
        ("unknown direction", "metrics: {a: {direction: low, smallest_effect: 1}}\n"),
        ("direction missing", "metrics:\n  a: {smallest_effect: 1}\n"),
        ("smallest effect missing", "metrics:\n  a: {direction: lower}\n"),
        ("unknown key", f"metrics:\n  a: {RULE}, tolerances: 1}}\n"),
        ("unknown section", f"metric: {{}}\nmetrics: {{a: {RULE}}}}}\n"),
        ("negative tolerance", f"metrics:\n  a: {RULE}, tolerance: -1}}\n"),
        ("text instead of a number", f"metrics:\n  a: {RULE}, min: '0'}}\n"),
        ("infinite limit", f"metrics:\n  a: {RULE}, max: .inf}}\n"),
        ("true instead of a number", f"metrics:\n  a: {RULE}, max: true}}\n"),
        ("text instead of a flag", f"metrics:\n  a: {RULE}, required: maybe}}\n"),
        ("limits that exclude all values", f"metrics:\n  a: {RULE}, min: 2, max: 1}}\n"),
        ("false alarms of zero", f"false_alarms: 0\nmetrics: {{a: {RULE}}}}}\n"),
        ("false alarms in percent", f"false_alarms: 5\nmetrics: {{a: {RULE}}}}}\n"),
        ("no YAML", "metrics: [\n"),
        ("duplicate rule", f"metrics:\n  a: {RULE}}}\n  a: {RULE}}}\n"),
        ("a list", "- a\n"),
        ("empty file", ""),
        (
            "override of no rule",
            f"metrics:\n  abc: {RULE}}}\nprofiles: {{mnist: {{abcx: {{min: 1}}}}}}\n",
        ),
        (
            "override that contradicts its rule",
            f"metrics:\n  a: {RULE}, min: 2}}\nprofiles:\n  mnist: {{a: {{max: 1}}}}\n",
        ),
        (
            "override for an unknown profile",
            f"metrics:\n  a: {RULE}}}\nprofiles:\n  digit: {{a: {{max: 1}}}}\n",
        ),
    ],
)
def test_errors_in_the_policy_name_the_line(gated, error, message, name, text):
    write_policy(gated, text)
    message(f"gate/policy: {name}", error())


def test_a_missing_policy_is_an_error(gated, error, message):
    (gated.root / "gate.yaml").unlink()
    message("gate/policy: missing", error())


def test_a_rule_that_matches_no_metric_is_an_error(gated, error, message):
    write_policy(gated, POLICY + f"  evaluate/tests/accuracy: {RULE}}}\n  vae/*: {RULE}}}\n")
    message("gate/policy: rules without a metric", error())


def test_a_rule_that_is_not_required_may_match_no_metric(gated, latentlab):
    write_policy(gated, POLICY + f"  vae/*: {RULE}, required: false}}\n")

    answer = latentlab("gate")

    assert answer.code == 0
    assert "warning: the rule vae/* in gate.yaml matches no metric" in answer.out


def test_rules_with_labels_do_not_apply_to_a_dataset_without_classes(gated, error, latentlab):
    write_policy(gated, POLICY + f"  evaluate/test/f1: {RULE}, labels: true}}\n")
    assert "evaluate/test/f1: matches no metric" in error()

    description = gated.outputs("fetch") / "dataset.json"
    write_json(description, read_json(description) | {"classes": []})
    assert latentlab("gate").code == 0


def test_outputs_without_classes_are_not_compared_with_metrics_of_classes(gated, error, message):
    write_policy(gated, POLICY.replace("max: 1,", "max: 1, labels: true,"))
    description = gated.outputs("fetch") / "dataset.json"
    write_json(description, read_json(description) | {"classes": []})
    message("gate/policy: labels are gone", error())


def test_the_shipped_policy_is_valid_for_every_profile(repository):
    from latentlab.common.project import Project

    for path in (repository / "profiles").glob("*.yaml"):
        read_policy(Project(repository, repository), path.stem)
    overridden = set(read_plain(repository / "gate.yaml")["profiles"])
    assert overridden <= {path.stem for path in (repository / "profiles").glob("*.yaml")}
