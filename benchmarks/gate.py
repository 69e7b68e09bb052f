"""Does the gate ignore other seeds and catch regressions? Results, and a section of the docs."""

from collections.abc import Sequence
from typing import Any

from latentlab.gate.noise import MIN_RUNS
from latentlab.gate.policy import matches
from latentlab.gate.verdict import Comparison, Verdict

from .clones import ROOT
from .gate_runs import (
    Gate,
    Run,
    Variant,
    current_runs,
    regression_variants,
    run_all,
    unchanged_variants,
)
from .pages import replace_section

PAGE = ROOT / "docs" / "explanation" / "gate.md"

TEXT = """\
`benchmarks/run.sh gate` ran the pipeline of the digits {count} times and compared each run with the
shipped baseline of {baseline} seeds. Of {unchanged} unchanged pipelines with other seeds,
{false_alarms} failed{failing}. Of {regressions} regressions, each with another seed, {caught} were
caught: a metric failed that the regression should make worse. The regressions are in
`benchmarks/regressions.py`.

| regression | metric | worse by | same seed | allowed | result |
|---|---|--:|--:|--:|---|
{rows}

Of the metrics that the regression should make worse, the table shows the one that exceeds the
allowed change most, or comes closest to it. "Worse by" is the difference to the mean of the
baseline, which decides. "Same seed" is the difference to the unchanged pipeline with the same seed,
which is closer to the effect of the regression alone.

| metric | baseline | allowed | detected in 9 of 10 cases |
|---|--:|--:|--:|
{changes}

The last column is the smallest change for which {detected} of the {unchanged} unchanged pipelines
fail if they become worse by it. This assumes that a change shifts a metric without changing its
noise.
"""


def measure() -> dict[str, Any]:
    """Return the false alarms, the regressions caught, and the smallest detectable changes.

    This takes an hour and a half on two cores. An interrupted experiment resumes. It can run before
    the baseline is calibrated; the program then ends when all runs have finished.
    """
    gate = Gate.of_repository()
    runs = run_all(gate)
    if (count := len(gate.baseline.runs)) < MIN_RUNS:
        raise SystemExit(
            f"all runs have finished, but the baseline has {count} runs; run "
            "`latentlab gate --calibrate 10`, then this again"
        )
    return summary(gate, runs)


def summary(gate: Gate, runs: list[Run]) -> dict[str, Any]:
    """Return the results of a finished experiment."""
    unchanged = [gate.verdict(run) for run in _runs_of(unchanged_variants(), runs)]
    regressions = regression_variants()
    caught = [
        is_caught(gate.verdict(run), variant.metrics)
        for variant, run in zip(regressions, _runs_of(regressions, runs), strict=True)
    ]
    return {
        f"gate_false_alarms_of_{len(unchanged)}": sum(not each.passed for each in unchanged),
        f"gate_caught_of_{len(caught)}": sum(caught),
        "gate_detectable_changes": detectable_changes(unchanged),
    }


def is_caught(verdict: Verdict, patterns: Sequence[str]) -> bool:
    """Return whether one of the metrics that a regression should make worse fails the gate."""
    return any(matches(pattern, each.metric) for each in verdict.worse for pattern in patterns)


def detectable_changes(unchanged: Sequence[Verdict]) -> dict[str, float]:
    """Return the smallest change of each metric that is detected in 9 of 10 cases.

    It is the smallest change for which 9 of 10 unchanged pipelines would fail if they were worse by
    it: a quantile of what each of them lacks to fail.
    """
    lacking: dict[str, list[float]] = {}
    for verdict in unchanged:
        for each in verdict.comparisons:
            if not each.rule.informational:
                lacking.setdefault(each.metric, []).append(each.allowed - each.change)
    return {
        metric: sorted(values)[detected_of(len(values)) - 1] for metric, values in lacking.items()
    }


def detected_of(count: int) -> int:
    """Return nine tenths of a number of cases, rounded up."""
    return -(-9 * count // 10)


def write_section() -> None:
    """Write the section of the page, if the experiment has finished."""
    gate = Gate.of_repository()
    runs = current_runs(gate)
    if all(each.find(runs) for each in [*unchanged_variants(), *regression_variants()]):
        replace_section(PAGE, section(gate, runs))


def section(gate: Gate, runs: list[Run]) -> str:
    """Return the section as Markdown."""
    unchanged, regressions = unchanged_variants(), regression_variants()
    verdicts = [gate.verdict(run) for run in _runs_of(unchanged, runs)]
    failed = sorted({short(each.metric) for verdict in verdicts for each in verdict.worse})
    results = summary(gate, runs)
    detectable = results["gate_detectable_changes"]
    return TEXT.format(
        count=len(unchanged) + len(regressions),
        baseline=len(gate.baseline.runs),
        false_alarms=results[f"gate_false_alarms_of_{len(unchanged)}"],
        unchanged=len(unchanged),
        failing=f" ({', '.join(failed)})" if failed else "",
        caught=results[f"gate_caught_of_{len(regressions)}"],
        regressions=len(regressions),
        detected=detected_of(len(unchanged)),
        rows="\n".join(regression_row(gate, variant, runs) for variant in regressions),
        changes="\n".join(
            f"| {short(each.metric)} | {each.accepted.mean:.4g} ± {each.accepted.std:.2g} "
            f"| {each.allowed:.2g} | {detectable[each.metric]:.2g} |"
            for each in sorted(verdicts[0].comparisons, key=lambda each: each.metric)
            if each.metric in detectable
        ),
    )


def regression_row(gate: Gate, variant: Variant, runs: list[Run]) -> str:
    """Format the result of a regression."""
    (run,) = _runs_of([variant], runs)
    (same_seed,) = _runs_of([Variant("unchanged", variant.seed)], runs)
    verdict = gate.verdict(run)
    worst = _worst_expected(verdict, variant.metrics)
    by_itself = worst.value - same_seed["metrics"][worst.metric]
    by_itself = by_itself if worst.rule.direction == "lower" else -by_itself
    result = "caught" if is_caught(verdict, variant.metrics) else "**missed**"
    return (
        f"| {variant.name} | {short(worst.metric)} | {worst.change:+.2g} | {by_itself:+.2g} "
        f"| {worst.allowed:.2g} | {result} |"
    )


def short(metric: str) -> str:
    """Return the name of a metric without its common beginning."""
    return metric.removeprefix("evaluate/test/")


def _worst_expected(verdict: Verdict, patterns: Sequence[str]) -> Comparison:
    """Return the comparison with the largest relative change, of metrics that match a pattern."""
    return next(
        each
        for each in verdict.comparisons  # worst first
        if any(matches(pattern, each.metric) for pattern in patterns)
    )


def _runs_of(variants: list[Variant], runs: list[Run]) -> list[Run]:
    """Return the run of each variant; raise ValueError if one has not finished."""
    found = [variant.find(runs) for variant in variants]
    if None in found:
        raise ValueError(f"{found.count(None)} of {len(variants)} variants have not finished")
    return [run for run in found if run]
