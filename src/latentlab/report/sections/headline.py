"""Headline table: the metrics of the gate, compared with the accepted baseline."""

from collections.abc import Mapping

from latentlab.common.progress import plural
from latentlab.gate.report import Report as GateReport
from latentlab.gate.verdict import Comparison
from latentlab.params.fields import flatten
from latentlab.report.document import Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import listed, metric_name, number, signed

STATUS = {"worse": "worse", "better": "better", "same": "within limits"}


def verdict(gate: GateReport) -> str:
    """Return a sentence that says whether this run is an improvement."""
    judged = gate.verdict
    if judged is None:
        return "The run is not compared with a baseline."
    better = [metric_name(each.metric) for each in judged.comparisons if each.status == "better"]
    if judged.worse:
        worse = [metric_name(each.metric) for each in judged.worse]
        text = f"The gate fails: {plural(len(worse), 'metric')} became worse ({listed(worse)})"
    elif better:
        text = "The run is an improvement: no metric that can fail became worse"
    else:
        text = "The run passes: no metric that can fail changed by more than is allowed"
    if better:
        text += f", and {plural(len(better), 'metric')} became better ({listed(better)})"
    return f"{text}."


def write(outputs: Outputs, gate: GateReport, reported: Mapping[str, float]) -> Section:
    """Return the section; `reported` are the values of a published report by metric."""
    paragraphs = [verdict(gate)]
    if gate.verdict is None:
        paragraphs.append(f"The reason: {gate.error}")
        return Section("Results", paragraphs, [_values(outputs, reported)])
    paragraphs.append(
        "A change is allowed up to what other seeds explain, or up to a tolerance if the baseline "
        "has too few runs to tell."
    )
    paragraphs += [f"Warning: {text}." for text in gate.verdict.warnings]
    return Section("Results", paragraphs, [_comparisons(outputs, gate, reported), *_changes(gate)])


def _comparisons(outputs: Outputs, gate: GateReport, reported: Mapping[str, float]) -> Table:
    judged = gate.verdict
    assert judged is not None, "without a verdict there is no comparison"
    order = list(_flat(outputs))
    comparisons = sorted(
        judged.comparisons,
        key=lambda each: order.index(each.metric) if each.metric in order else len(order),
    )
    columns = ["metric", "verdict", "baseline", "now", "change", "noise", "allowed"]
    rows = [[*_cells(each), *_reported(each.metric, reported)] for each in comparisons]
    marks = {row: each.status for row, each in enumerate(comparisons) if each.changed}
    runs = max(each.accepted.n for each in comparisons)
    source = gate.baseline.get("source", "the baseline")
    text = (
        f"Metrics that the gate judges, compared with {plural(runs, 'accepted run')} in {source}."
    )
    if reported:
        columns.append("published")
        text += " The last column is the value of the published report with the same setting."
    return Table("Metrics and baseline", text, columns, rows, texts=2, marks=marks)


def _changes(gate: GateReport) -> list[Table]:
    """Return a table of the parameters that differ from those of the baseline, if any do."""
    changed = gate.differences.get("parameters", [])
    rows = [[*each.split(": ", 1)] for each in changed]
    text = f"{plural(len(rows), 'parameter')}, with the earlier and the current value."
    title = "Parameters that differ from the baseline"
    return [Table(title, text, ["parameter", "change"], rows, texts=2, folded=True)] if rows else []


def _values(outputs: Outputs, reported: Mapping[str, float]) -> Table:
    """Return a table of the metrics that have a name, without a verdict."""
    flat = _flat(outputs)
    named = {metric: flat[metric] for metric in flat if metric_name(metric) != metric}
    columns = ["metric", "now", *(["published"] if reported else [])]
    rows = [
        [metric_name(metric), number(value), *_reported(metric, reported)]
        for metric, value in named.items()
    ]
    return Table("Metrics", "Values of this run on the test split.", columns, rows)


def _cells(each: Comparison) -> list[str]:
    spread = f" ± {each.accepted.std:.2g}" if each.accepted.n > 1 else ""
    status = STATUS[each.status]
    return [
        metric_name(each.metric),
        f"{status} (informational)" if each.rule.informational else status,
        f"{number(each.accepted.mean)}{spread}",
        number(each.value),
        signed(each.value - each.accepted.mean),
        "unknown" if each.noise is None else f"{each.noise:.2g}",
        f"{each.allowed:.2g}",
    ]


def _reported(metric: str, reported: Mapping[str, float]) -> list[str]:
    if not reported:
        return []
    return [number(reported[metric]) if metric in reported else ""]


def _flat(outputs: Outputs) -> dict[str, float]:
    return flatten(outputs.metrics["evaluate"], "evaluate/", "/")
