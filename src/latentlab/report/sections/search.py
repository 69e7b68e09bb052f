"""Search: what was tried, what mattered, and what won."""

from typing import Any

from latentlab.common.progress import plural
from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.charts.lines import Series, chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import listed, number, percent

STATES = {"complete": 0, "pruned": 1, "failed": 2}
"""States of trials, and their colors."""


def write(outputs: Outputs) -> Section:
    """Return the section about the search for parameters of the autoencoder."""
    metrics, settings = outputs.metrics["search"], outputs.params.search
    if "best_trial" not in metrics:
        return Section("Search", ["Nothing was searched: all values are those of params.yaml."])
    trials = metrics["trials"]
    objective = next(iter(settings.objectives))
    names = [path.removeprefix("train.") for path in settings.space]
    states = [f"{trials[state]} {state}" for state in STATES if trials[state]]
    paragraphs = [
        f"{plural(trials['total'], 'trial')} of the {settings.sampler} sampler varied "
        f"{listed(names)}: {listed(states)}. Together they were trained for "
        f"{plural(metrics['epochs'], 'epoch')}.",
    ]
    blocks = [*_trials(outputs, objective), *_importances(metrics), _winner(outputs, objective)]
    return Section("Search", paragraphs, blocks)


def _trials(outputs: Outputs, objective: str) -> list[Figure | Table]:
    rows = [row for row in outputs.table("search/trials.csv") if row.get(objective)]
    if not rows:
        return []
    best = outputs.metrics["search"]["best_trial"]
    series = [
        Series(
            state,
            [(int(row["number"]), float(row[objective])) for row in rows if row["state"] == state],
            color,
            line=False,
        )
        for state, color in STATES.items()
    ]
    value = next(float(row[objective]) for row in rows if int(row["number"]) == best)
    text = (
        f"Trial {best} won with {objective} = {number(value)}. Pruned trials show the value at "
        "which they were stopped."
    )
    drawn = chart(series, Axis("trial", integer=True), Axis(objective))
    return [Figure("Results of the trials", text, drawn)]


def _importances(metrics: dict[str, Any]) -> list[Figure | Table]:
    shares = {
        path.removeprefix("train."): share for path, share in metrics.get("importance", {}).items()
    }
    if not any(shares.values()):
        return []
    ordered = sorted(shares, key=lambda name: -shares[name])
    text = (
        f"{ordered[0]} mattered most: it explains {percent(shares[ordered[0]])} of what separates "
        f"the best trials from the others. {ordered[-1]} mattered least."
    )
    bars = [Bar(name, shares[name]) for name in ordered]
    return [Figure("Importance of each parameter", text, bar_chart(bars, percent, 2))]


def _winner(outputs: Outputs, objective: str) -> Table:
    best = outputs.metrics["search"]["best_trial"]
    row = next(
        (row for row in outputs.table("search/trials.csv") if row["number"] == str(best)), {}
    )
    rows = [[path, row.get(path, "")] for path in outputs.params.search.space]
    text = f"Values of trial {best}, which train uses where params.yaml says search."
    return Table("What won", text, ["parameter", "value"], rows, texts=2)
