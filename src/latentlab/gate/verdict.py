"""The verdict of the gate: how each metric changed, and whether the change is allowed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from latentlab.common.errors import ParamsError
from latentlab.common.progress import plural
from latentlab.evaluation.examples import Examples
from latentlab.gate.baseline import Baseline
from latentlab.gate.noise import MIN_RUNS, Noise, level_per_metric
from latentlab.gate.outputs import is_number
from latentlab.gate.paired import PairedChange, compare_examples
from latentlab.gate.policy import Policy, Rule, check_rules, matches, suggestion

Status = Literal["worse", "better", "same"]


@dataclass(frozen=True)
class Comparison:
    """A metric compared with its baseline.

    `change` is positive if the metric became worse; it, `noise` and `allowed` have the unit of the
    metric. `noise` is the change that seeds alone cause, or None if the baseline has too few runs
    to know it; then `confidence` is None too, and the tolerance of the policy is used instead.
    `confidence` is the probability that seeds alone cause a smaller change in this direction.
    `explained` is the part of the change that the control of the metric explains, if it has one.
    `images` compares both sides on the same images, if they have results per image. If it says
    that the weights are the same, seeds cause no change, and `accepted`, `change`, `noise` and
    `confidence` are those of this comparison.
    """

    metric: str
    rule: Rule
    accepted: Noise
    value: float
    change: float
    noise: float | None
    allowed: float
    confidence: float | None
    explained: float | None = None
    images: PairedChange | None = None

    @property
    def noise_source(self) -> Literal["seeds", "images", "unknown"]:
        """What the noise is measured over."""
        if self.images and self.images.same_weights:
            return "images"
        return "unknown" if self.noise is None else "seeds"

    @property
    def status(self) -> Status:
        """Whether the metric became worse or better by more than is allowed."""
        if not abs(self.change) <= self.allowed:  # also if it is not a number
            return "better" if self.change < 0 else "worse"
        return "same"

    @property
    def changed(self) -> bool:
        """Whether the metric became worse or better."""
        return self.status != "same"

    @property
    def fails(self) -> bool:
        """Whether the metric fails the gate."""
        return self.status == "worse" and not self.rule.informational

    @property
    def relative_change(self) -> float:
        """The change as a multiple of what is allowed; a metric is worse above 1."""
        if self.allowed == 0:
            return math.copysign(math.inf, self.change) if self.change else 0.0
        return self.change / self.allowed


@dataclass(frozen=True)
class Verdict:
    """The result of the gate: comparisons (worst first), warnings, and metrics without a rule."""

    profile: str
    level: float
    comparisons: list[Comparison]
    warnings: list[str] = field(default_factory=list)
    without_rule: list[str] = field(default_factory=list)

    @property
    def worse(self) -> list[Comparison]:
        """The comparisons that fail the gate."""
        return [each for each in self.comparisons if each.fails]

    @property
    def passed(self) -> bool:
        """Whether no metric became worse."""
        return not self.worse

    @property
    def summary(self) -> str:
        """One line: `passed: 11 metrics`, or which metrics are worse."""
        if self.worse:
            return f"failed: {', '.join(each.metric for each in self.worse)}"
        better = sum(each.status == "better" for each in self.comparisons)
        compared = plural(len(self.comparisons), "metric")
        return f"passed: {compared}" + (f", {better} better" if better else "")


def compare(
    policy: Policy,
    baseline: Baseline,
    values: dict[str, Any],
    where: str,
    examples: tuple[Examples, Examples] | None = None,
) -> Verdict:
    """Compare metrics with a baseline; `where` names the baseline in messages.

    `examples` are the results per image of the baseline and of the outputs, if both have them.

    Raises ParamsError, with all problems, if a rule matches no metric, if a required metric is
    missing or is not a finite number, if a value is impossible, or if there is nothing to compare.
    """
    known = dict.fromkeys([*values, *baseline.metrics])
    check_rules(policy, known, "outputs/")
    ruled = {name: rule for name in known if (rule := policy.rule_of(name))}
    problems = check_values(ruled, values)
    compared: dict[str, tuple[Rule, Noise]] = {}
    for metric, rule in ruled.items():
        accepted = baseline.noise(metric)
        if metric in values and accepted:
            compared[metric] = (rule, accepted)
        elif metric in values and rule.required:
            hint = suggestion(metric, baseline.metrics) or "; accept a new baseline"
            problems.append(f"{metric}: missing in {where}{hint}")
    if problems:
        raise ParamsError("the gate cannot compare these metrics:\n  " + "\n  ".join(problems))
    if all(rule.informational for rule, _ in compared.values()):
        raise ParamsError(
            f"the gate compared no metric: gate.yaml, outputs/ and {where} have none that can "
            "fail in common"
        )
    failing = sum(not rule.informational for rule, _ in compared.values())
    level = level_per_metric(policy.false_alarms, failing)
    paired = compare_examples(*examples, policy, level) if examples else {}
    images = {
        metric: pair
        for metric, pair in paired.items()
        if _are_of(pair, [run.metrics.get(metric) for run in baseline.runs], values.get(metric))
    }
    comparisons = [
        replace(
            compare_metric(metric, rule, accepted, values[metric], level, images.get(metric)),
            explained=_explained(rule, accepted, baseline, values),
        )
        for metric, (rule, accepted) in compared.items()
    ]
    return Verdict(
        baseline.profile,
        level,
        sorted(comparisons, key=lambda each: (-each.relative_change, each.metric)),
        [
            *_suspicious(compared, values),
            *_unused_rules(policy, known),
            *_other_images(examples),
            *(_not_compared(metric, values, where) for metric in ruled if metric not in compared),
            *_few_runs(baseline),
        ],
        sorted(name for name in values if name not in ruled),
    )


def compare_metric(
    metric: str,
    rule: Rule,
    accepted: Noise,
    value: float,
    level: float,
    images: PairedChange | None = None,
) -> Comparison:
    """Compare one metric with its accepted runs, at a level of false alarms.

    `images` decides if the weights are the same.
    """
    change = value - accepted.mean if rule.direction == "lower" else accepted.mean - value
    noise = confidence = None
    fallback = max(rule.tolerance, rule.relative_tolerance * abs(accepted.mean))
    if images and images.same_weights:
        accepted, change, noise = Noise(images.before, 0.0, 1), images.change, images.noise
        # the p-value is that of a change for the worse
        confidence = 1 - images.p_value if change > 0 else images.p_value if change else 0.5
    elif accepted.known:
        noise, confidence = accepted.limit(level), accepted.confidence(abs(change))
    allowed = max(rule.smallest_effect, fallback if noise is None else noise)
    return Comparison(
        metric, rule, accepted, value, change, noise, allowed, confidence, images=images
    )


def _are_of(pair: PairedChange, accepted: list[float | None], value: Any) -> bool:
    """Return whether results per image have the means of an accepted run and of the outputs."""

    def equal(mean: float, metric: Any) -> bool:
        return is_number(metric) and math.isclose(mean, metric, rel_tol=1e-4, abs_tol=1e-9)

    return equal(pair.after, value) and any(equal(pair.before, each) for each in accepted)


def check_values(ruled: dict[str, Rule], values: dict[str, Any]) -> list[str]:
    """Return what is wrong with the values of metrics that have a rule."""
    problems = []
    for metric, rule in ruled.items():
        if metric not in values:
            if rule.required:
                problems.append(f"{metric}: missing in outputs/{suggestion(metric, values)}")
        elif rule.control is not None and not is_number(values.get(rule.control)):
            hint = suggestion(rule.control, values)
            problems.append(f"{metric}: its control {rule.control} is not in outputs/{hint}")
        elif not is_number(values[metric]):
            problems.append(f"{metric}: {_shown(values[metric])} is not a finite number")
        elif not rule.is_possible(values[metric]):
            problems.append(f"{metric}: {values[metric]} is impossible; {_limits(rule)}")
    return problems


def _explained(
    rule: Rule, accepted: Noise, baseline: Baseline, values: dict[str, Any]
) -> float | None:
    """Return the change if the metric had changed by the same factor as its control."""
    before = baseline.noise(rule.control) if rule.control else None
    if before is None or before.mean == 0:
        return None
    change = accepted.mean * (values[str(rule.control)] / before.mean - 1)
    return float(change if rule.direction == "lower" else -change)


def _limits(rule: Rule) -> str:
    limits = {"min": rule.min, "max": rule.max}
    given = [f"{name} is {limit:g}" for name, limit in limits.items() if limit is not None]
    return " and ".join(given)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1e15 else "a huge integer"
    return text if len(text) <= 40 else f"{text[:40]}..."


def _suspicious(compared: dict[str, tuple[Rule, Noise]], values: dict[str, Any]) -> list[str]:
    return [
        f"{metric}: {values[metric]:.5g} is too good to be true (better than {rule.too_good:g})"
        for metric, (rule, _) in compared.items()
        if rule.is_too_good(values[metric])
    ]


def _not_compared(metric: str, values: dict[str, Any], where: str) -> str:
    missing = where if metric in values else "outputs/"
    return f"{metric}: not compared, because it is not required and missing in {missing}"


def _unused_rules(policy: Policy, names: Iterable[str]) -> list[str]:
    """Return a warning for each rule without a metric; `check_rules` rejects required ones."""
    return [
        f"the rule {pattern} in gate.yaml matches no metric"
        for pattern in policy.metrics
        if not any(matches(pattern, name) for name in names)
    ]


def _other_images(examples: tuple[Examples, Examples] | None) -> list[str]:
    if examples is None or examples[0].images == examples[1].images:
        return []
    return [
        "the test images are not those of the baseline, so changes include the choice of images, "
        "which the noise between seeds does not contain"
    ]


def _few_runs(baseline: Baseline) -> list[str]:
    n = len(baseline.runs)
    if n >= MIN_RUNS:
        return []
    return [
        f"the noise is unknown, because the baseline has {n} of at least {MIN_RUNS} runs; the "
        "tolerances in gate.yaml are used instead"
    ]
