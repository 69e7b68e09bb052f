"""Reports of a verdict: a table for terminals, JSON, Markdown and JUnit."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from latentlab.common.progress import output_console, plural
from latentlab.gate.policy import Policy
from latentlab.gate.verdict import Comparison, Verdict

HEADERS = ("", "metric", "better", "baseline", "now", "worse by", "allowed", "noise", "confidence")

DIFFERENCES = ("parameters", "source files", "data")
"""What can differ between the two sides; a difference that is missing in a report is unknown."""
MAX_LISTED = 12
"""Differences of one kind that are listed, except in JSON."""


@dataclass(frozen=True)
class Report:
    """Everything that a report shows; without a `verdict`, `error` says why there is none.

    `baseline` and `now` describe the two sides, and `differences` what differs between them.
    """

    dataset: str | None = None
    verdict: Verdict | None = None
    policy: Policy | None = None
    baseline: dict[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)
    differences: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def summary(self) -> str:
        """The verdict in one line, with what limits it."""
        assert self.verdict is not None, "an error has no summary"
        return "; ".join([self.verdict.summary, *self.warnings])

    @property
    def outcome(self) -> str:
        """One of `passed`, `failed` and `cannot judge`."""
        if self.verdict is None:
            return "cannot judge"
        return "passed" if self.verdict.passed else "failed"


def print_table(report: Report, verbose: bool) -> None:
    """Print the report on stdout: table, metrics that became worse, warnings, differences."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    verdict = report.verdict
    assert verdict is not None, "an error has no table"
    table = Table(*HEADERS[:3], box=box.SIMPLE_HEAD, title=f"Gate: {verdict.profile}")
    for header in HEADERS[3:]:
        table.add_column(header, justify="right")
    for each in verdict.comparisons:
        mark, *cells = _cells(each)
        color = {"WORSE": "red", "better": "green"}.get(mark)
        table.add_row(f"[{color}]{mark}[/{color}]" if color else mark, *map(escape, cells))
    console = output_console()
    console.print(table)
    for line in _lines(report, verbose):
        console.print(escape(line), highlight=False)
    console.print(f"gate {report.summary}", highlight=False)


def as_json(report: Report) -> str:
    """Return the report as one JSON object."""
    verdict = report.verdict
    comparisons = verdict.comparisons if verdict else []
    tree: dict[str, Any] = {
        "dataset": report.dataset,
        "verdict": report.outcome,
        "policy": report.policy.tree() if report.policy else None,
        "level": verdict.level if verdict else None,
        "sides": {"baseline": report.baseline, "now": report.now},
        "differences": report.differences,
        "metrics": [_tree(each) for each in comparisons],
        "without_rule": verdict.without_rule if verdict else [],
        "warnings": _warnings(report),
        "error": report.error,
    }
    return json.dumps(tree, indent=2, allow_nan=False)


def as_markdown(report: Report) -> str:
    """Return the report as GitHub-flavored Markdown."""
    verdict = report.verdict
    if verdict is None:
        return f"### Gate: cannot judge\n\n```\n{report.error}\n```\n"
    rows = [" | ".join(_cells(each)) for each in verdict.comparisons]
    table = [" | ".join(HEADERS), " | ".join(["---"] * 3 + ["--:"] * 6), *rows]
    lines = [f"- {line}" for line in _lines(report, verbose=False)]
    body = [f"### Gate: {verdict.profile} {report.outcome}", "", *(f"| {row} |" for row in table)]
    return "\n".join([*body, "", *lines]) + "\n"


def as_junit(report: Report) -> str:
    """Return the report as a JUnit XML test suite with one test case per metric."""
    verdict = report.verdict
    comparisons = verdict.comparisons if verdict else []
    failures = sum(each.fails for each in comparisons)
    counts = {"tests": str(max(len(comparisons), 1)), "failures": str(failures)}
    suite = Element("testsuite", {"name": "gate", **counts, "errors": str(int(verdict is None))})
    if verdict is None:
        case = SubElement(suite, "testcase", {"classname": "gate", "name": "gate"})
        SubElement(case, "error", {"message": "cannot judge"}).text = report.error
    for each in comparisons:
        case = SubElement(suite, "testcase", {"classname": "gate", "name": each.metric})
        if each.fails:
            SubElement(case, "failure", {"message": describe_change(each)})
    if warnings := _warnings(report):
        SubElement(suite, "system-out").text = "\n".join(f"warning: {text}" for text in warnings)
    return tostring(suite, encoding="unicode")


def describe_change(each: Comparison) -> str:
    """Return one line on a metric that changed by more than is allowed."""
    direction = "worse" if each.change > 0 else "better"
    note = " (informational)" if each.rule.informational else ""
    if each.noise_source == "images":
        note += "; the weights are the same, so seeds cannot explain it"
    elif each.images:
        note += (
            f"; on the same {each.images.n:,} images it changed by {each.images.change:+.2g} from "
            f"the accepted run, and other images cause {each.images.noise:.2g}"
        )
    if each.explained is not None:
        note += f"; {each.rule.control} explains {each.explained:+.2g} of {each.change:+.2g}"
    return (
        f"{each.metric}: {each.accepted.mean:.5g} -> {each.value:.5g} "
        f"({direction} by {abs(each.change):.2g}, allowed {each.allowed:.2g}){note}"
    )


def _cells(each: Comparison) -> tuple[str, ...]:
    marks = {"worse": "worse (info)" if each.rule.informational else "WORSE", "same": "ok"}
    spread = f" ± {each.accepted.std:.2g} (n={each.accepted.n})" if each.accepted.n > 1 else ""
    return (
        marks.get(each.status, each.status),
        each.metric,
        each.rule.direction,
        f"{each.accepted.mean:.5g}{spread}",
        f"{each.value:.5g}",
        f"{each.change:+.2g}",
        f"{each.allowed:.2g}",
        "unknown" if each.noise is None else f"{each.noise:.2g} ({each.noise_source})",
        "unknown" if each.confidence is None else f"{math.floor(each.confidence * 1000) / 10:.1f}%",
    )


def _lines(report: Report, verbose: bool) -> Iterator[str]:
    """Yield the lines below the table: changed metrics, warnings and differences."""
    verdict = report.verdict
    assert verdict is not None, "an error has no lines"
    yield from (describe_change(each) for each in verdict.comparisons if each.changed)
    yield from (f"warning: {text}" for text in _warnings(report))
    if unknown := [kind for kind in DIFFERENCES if kind not in report.differences]:
        yield f"unknown whether these differ: {', '.join(unknown)}"
    for kind, changes in report.differences.items():
        if changes:
            yield f"{kind} that differ ({len(changes)}): {_some(changes)}"
    if verdict.without_rule:
        names = f": {', '.join(verdict.without_rule)}" if verbose else " (--verbose lists them)"
        yield f"{plural(len(verdict.without_rule), 'metric')} without a rule{names}"


def _some(texts: list[str]) -> str:
    """Return the first texts of a list, which the JSON report contains completely."""
    rest = len(texts) - MAX_LISTED
    return ", ".join(texts[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _warnings(report: Report) -> list[str]:
    return [*report.warnings, *(report.verdict.warnings if report.verdict else [])]


def _tree(each: Comparison) -> dict[str, Any]:
    return {
        "metric": each.metric,
        "status": each.status,
        "fails": each.fails,
        "direction": each.rule.direction,
        "informational": each.rule.informational,
        "baseline": each.accepted.mean,
        "std": each.accepted.std if each.accepted.n > 1 else None,
        "n": each.accepted.n,
        "now": each.value,
        "change": each.change,
        "allowed": each.allowed,
        "noise": each.noise,
        "noise_source": each.noise_source,
        "confidence": each.confidence,
        "explained": each.explained,
        "images": asdict(each.images) if each.images else None,
    }
