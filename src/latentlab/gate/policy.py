"""The policy of the gate: `gate.yaml`, its rules, and which rule applies to a metric."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from latentlab.common.errors import ParamsError
from latentlab.common.project import Project
from latentlab.params.fields import Flag, NotNegative, Real, Section
from latentlab.params.messages import Errors, find_errors, first_error, nearest, params_error
from latentlab.params.yaml_io import read_yaml


class Override(Section):
    """Settings of a rule that differ for one profile."""

    smallest_effect: NotNegative | None = None
    tolerance: NotNegative | None = None
    relative_tolerance: NotNegative | None = None
    min: Real | None = None
    max: Real | None = None
    too_good: Real | None = None
    required: Flag | None = None
    informational: Flag | None = None


class Rule(Section):
    """How the metrics that match a pattern are compared.

    `direction` is the better direction. `smallest_effect` is the smallest change that matters.
    `tolerance` (in the unit of the metric) and `relative_tolerance` (a fraction of the baseline)
    replace the noise of a baseline that has too few runs to know it. A value outside `min` and
    `max` is impossible; a value better than `too_good` causes a warning. An informational metric
    is compared but never fails the gate. `control` names a metric that changes only if the model
    that measures this metric changes; the report states how much of a change that explains. A
    rule with `labels` does not apply to datasets without class labels.
    """

    direction: Literal["lower", "higher"]
    smallest_effect: NotNegative
    tolerance: NotNegative = 0.0
    relative_tolerance: NotNegative = 0.0
    min: Real | None = None
    max: Real | None = None
    too_good: Real | None = None
    required: Flag = True
    informational: Flag = False
    labels: Flag = False
    control: str | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> "Rule":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} must not be greater than max = {self.max}")
        return self

    def is_possible(self, value: float) -> bool:
        """Return whether a value is within `min` and `max`."""
        below = self.min is not None and value < self.min
        return not below and not (self.max is not None and value > self.max)

    def is_too_good(self, value: float) -> bool:
        """Return whether a value is better than `too_good`."""
        if self.too_good is None:
            return False
        return value < self.too_good if self.direction == "lower" else value > self.too_good


class Policy(Section):
    """The content of `gate.yaml`.

    `false_alarms` is the largest probability that an unchanged pipeline with another seed fails.
    `profiles` contains overrides of rules for the baselines of single profiles.
    """

    false_alarms: Annotated[Real, Field(ge=0.01, le=0.5)] = 0.05
    metrics: Annotated[dict[str, Rule], Field(min_length=1)]
    profiles: dict[str, dict[str, Override]] = Field(default_factory=dict)

    def for_dataset(self, labeled: bool) -> "Policy":
        """Return the policy with the rules that apply to a dataset with or without class labels."""
        rules = {name: rule for name, rule in self.metrics.items() if labeled or not rule.labels}
        return self.model_copy(update={"metrics": rules})

    def for_stages(self, stages: Collection[str]) -> "Policy":
        """Return the policy with the rules for metrics of some stages, which metrics begin with."""
        rules = {
            name: rule
            for name, rule in self.metrics.items()
            if any(matches(name.partition("/")[0], stage) for stage in stages)
        }
        return self.model_copy(update={"metrics": rules})

    def rule_of(self, metric: str) -> Rule | None:
        """Return the rule of a metric: that with its name, else the last pattern that matches."""
        if metric in self.metrics:
            return self.metrics[metric]
        matching = [pattern for pattern in self.metrics if matches(pattern, metric)]
        return self.metrics[matching[-1]] if matching else None


def matches(pattern: str, metric: str) -> bool:
    """Return whether a pattern matches a metric.

    `*` stands for any text within one part of the name, and `**` for any text.
    """
    parts = re.split(r"(\*\*|\*)", pattern)
    wildcards = {"*": "[^/]*", "**": ".*"}
    expression = "".join(wildcards.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, metric) is not None


def read_policy(project: Project, profile: str) -> Policy:
    """Read `gate.yaml` and apply the overrides for a profile.

    Raises ParamsError with the line of each error.
    """
    path = project.root / "gate.yaml"
    document = read_yaml(path)
    errors = find_errors(Policy, document)
    if not errors:
        policy = Policy.model_validate(document)
        known = _profile_names(project)
        for name, overrides in policy.profiles.items():
            if name not in known:
                errors["profiles", name] = f" is not a profile; {nearest(name, known)}"
            errors |= _override_errors(policy, name, overrides)
    if errors:
        raise params_error(errors, document, path)
    rules = dict(policy.metrics)
    for pattern, override in policy.profiles.get(profile, {}).items():
        rules[pattern] = _overridden(rules[pattern], override)
    return policy.model_copy(update={"metrics": rules})


def _profile_names(project: Project) -> list[str]:
    """Return the names of all profiles and of all baselines."""
    folders = (project.profiles.glob("*.yaml"), (project.root / "baselines").glob("*.json"))
    return sorted({file.stem for files in folders for file in files})


def check_rules(policy: Policy, metrics: Iterable[str], where: str) -> None:
    """Raise ParamsError if a rule matches none of the metrics, unless it is not required."""
    names = list(metrics)
    unused = [
        f"{pattern}: matches no metric in {where}{suggestion(pattern, names)}"
        for pattern, rule in policy.metrics.items()
        if rule.required and not any(matches(pattern, name) for name in names)
    ]
    if unused:
        raise ParamsError("gate.yaml has rules without a metric:\n  " + "\n  ".join(unused))


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return a suggestion of the closest name, or an empty text if none is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.85)
    return f"; did you mean '{close[0]}'?" if close else ""


def _overridden(rule: Rule, override: Override) -> Rule:
    return Rule.model_validate(rule.model_dump() | override.model_dump(exclude_none=True))


def _override_errors(policy: Policy, profile: str, overrides: dict[str, Override]) -> Errors:
    """Return the errors of overrides: unknown rules, and limits that contradict each other."""
    errors: Errors = {}
    for pattern, override in overrides.items():
        location = ("profiles", profile, pattern)
        if pattern not in policy.metrics:
            known = nearest(pattern, list(policy.metrics))
            errors[location] = f" is not a rule in metrics; {known}"
            continue
        try:
            _overridden(policy.metrics[pattern], override)
        except ValidationError as invalid:
            errors[location] = f": {first_error(invalid)}"
    return errors
