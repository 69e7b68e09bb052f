"""Does the gate ignore other seeds and catch regressions? Results, and a section of the docs."""

from collections.abc import Sequence
from typing import Any

from latentlab.gate.policy import matches

from .clones import ROOT
from .gate_runs import (
    Run,
    Shipped,
    Variant,
    current_runs,
    failing,
    regression_variants,
    run_all,
    unchanged_variants,
)
from .pages import replace_section

PAGE = ROOT / "docs" / "explanation" / "gate.md"

TEXT = """\
`benchmarks/run.sh gate` ran the pipeline of the digits {count} times and compared each run with the
shipped baseline of {baseline} seeds. Of {unchanged} unchanged pipelines with other seeds,
{false_alarms} failed{failing}. Of {regressions} regressions with the seed of `params.yaml`,
{caught} were caught: a metric failed that the regression should make worse. The regressions are in
`benchmarks/regressions.py`.

| regression | metric | worse by | same seed | allowed | result |
|---|---|--:|--:|--:|---|
{rows}

Of the metrics that the regression should make worse, the table shows the one that exceeds the
allowed change most, or comes closest to it. "Worse by" is the difference to the mean of the
baseline, which decides unless the weights are those of the accepted run. "Same seed" is the
difference to the accepted run with the same seed, which is closer to the effect of the regression
alone.

| metric | baseline | allowed | detected in 9 of 10 cases |
|---|--:|--:|--:|
{changes}

The last column is the smallest change for which {detected} of the {unchanged} unchanged pipelines
fail if they become worse by it. This assumes that a change shifts a metric without changing its
noise.
"""


def measure() -> dict[str, Any]:
    """Return the false alarms, the regressions caught, and the smallest detectable changes.

    This takes an hour and a half on two cores. An interrupted experiment resumes.
    """
    return summary(run_all(Shipped.of_repository()))


def summary(runs: list[Run]) -> dict[str, Any]:
    """Return the results of a finished experiment."""
    unchanged = _runs_of(unchanged_variants(), runs)
    regressions = regression_variants()
    caught = [
        is_caught(run, variant)
        for variant, run in zip(regressions, _runs_of(regressions, runs), strict=True)
    ]
    return {
        f"gate_false_alarms_of_{len(unchanged)}": sum(
            bool(failing(run["comparisons"])) for run in unchanged
        ),
        f"gate_caught_of_{len(caught)}": sum(caught),
        "gate_detectable_changes": detectable_changes(unchanged),
    }


def is_caught(run: Run, variant: Variant) -> bool:
    """Return whether one of the metrics that a regression should make worse fails the gate."""
    return any(
        matches(pattern, metric)
        for metric in failing(run["comparisons"])
        for pattern in variant.metrics
    )


def detectable_changes(unchanged: Sequence[Run]) -> dict[str, float]:
    """Return the smallest change of each metric that is detected in 9 of 10 cases.

    It is the smallest change for which 9 of 10 unchanged pipelines would fail if they were worse by
    it: a quantile of what each of them lacks to fail.
    """
    lacking: dict[str, list[float]] = {}
    for run in unchanged:
        for each in run["comparisons"]:
            if not each["informational"]:
                lacking.setdefault(each["metric"], []).append(each["allowed"] - each["change"])
    return {
        metric: sorted(values)[detected_of(len(values)) - 1] for metric, values in lacking.items()
    }


def detected_of(count: int) -> int:
    """Return nine tenths of a number of cases, rounded up."""
    return -(-9 * count // 10)


def write_section() -> None:
    """Write the section of the page, if the experiment has finished."""
    shipped = Shipped.of_repository()
    runs = current_runs(shipped)
    if all(each.find(runs) for each in [*unchanged_variants(), *regression_variants()]):
        replace_section(PAGE, section(shipped, runs))


def section(shipped: Shipped, runs: list[Run]) -> str:
    """Return the section as Markdown."""
    unchanged, regressions = unchanged_variants(), regression_variants()
    found = _runs_of(unchanged, runs)
    failed = sorted({short(name) for run in found for name in failing(run["comparisons"])})
    results = summary(runs)
    detectable = results["gate_detectable_changes"]
    return TEXT.format(
        count=len(unchanged) + len(regressions),
        baseline=len(shipped.baseline.runs),
        false_alarms=results[f"gate_false_alarms_of_{len(unchanged)}"],
        unchanged=len(unchanged),
        failing=f" ({', '.join(failed)})" if failed else "",
        caught=results[f"gate_caught_of_{len(regressions)}"],
        regressions=len(regressions),
        detected=detected_of(len(unchanged)),
        rows="\n".join(regression_row(shipped, variant, runs) for variant in regressions),
        changes="\n".join(
            f"| {short(each['metric'])} | {each['baseline']:.4g} ± {each['std']:.2g} "
            f"| {each['allowed']:.2g} | {detectable[each['metric']]:.2g} |"
            for each in sorted(found[0]["comparisons"], key=lambda each: each["metric"])
            if each["metric"] in detectable
        ),
    )


def regression_row(shipped: Shipped, variant: Variant, runs: list[Run]) -> str:
    """Format the result of a regression."""
    (run,) = _runs_of([variant], runs)
    worst = next(  # comparisons are sorted, worst first
        each
        for each in run["comparisons"]
        if any(matches(pattern, each["metric"]) for pattern in variant.metrics)
    )
    by_itself = worst["now"] - shipped.accepted(worst["metric"])
    if worst["direction"] == "higher":
        by_itself = -by_itself
    result = "caught" if is_caught(run, variant) else "**missed**"
    return (
        f"| {variant.name} | {short(worst['metric'])} "
        f"| {signed(worst['change'])} | {signed(by_itself)} "
        f"| {worst['allowed']:.2g} | {result} |"
    )


def signed(value: float) -> str:
    """Return a number with its sign and two significant digits."""
    return f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.2g}"


def short(metric: str) -> str:
    """Return the name of a metric without its common beginning."""
    return metric.removeprefix("evaluate/test/")


def _runs_of(variants: list[Variant], runs: list[Run]) -> list[Run]:
    """Return the run of each variant; raise ValueError if one has not finished."""
    found = [variant.find(runs) for variant in variants]
    if None in found:
        raise ValueError(f"{found.count(None)} of {len(variants)} variants have not finished")
    return [run for run in found if run]
