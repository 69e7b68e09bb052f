"""Comparisons: autoencoders that differ in one setting."""

import json
from collections.abc import Callable

from latentlab.common.progress import plural
from latentlab.params.comparison import Comparison
from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.charts.lines import Series, chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import number, percent, sentence


def write(outputs: Outputs) -> Section:
    """Return the section about the entries of `compare`."""
    entries = outputs.params.compare
    if not entries:
        return Section("Comparisons", ["params.yaml has no entry in compare."])
    paragraphs = [
        "Each comparison trains autoencoders that differ in one setting, with equal budgets. "
        "Errors are those of the best epoch on the validation split.",
    ]
    if any(comparison.seeds > 1 for comparison in entries.values()):
        paragraphs.append("With several seeds, the table has means ± standard deviations.")
    blocks: list[Figure | Table] = []
    for name, comparison in entries.items():
        blocks += _comparison(outputs, name, comparison)
    return Section("Comparisons", paragraphs, blocks)


def _comparison(outputs: Outputs, name: str, comparison: Comparison) -> list[Figure | Table]:
    rows = [row for row in outputs.table(f"compare/{name}/table.csv") if row["best_mse"]]
    title = sentence(name.replace("_", " "))
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: float(row["best_mse"]))
    best, worst = ordered[0], ordered[-1]
    ratio = float(worst["best_mse"]) / float(best["best_mse"])
    error, epochs = number(float(best["best_mse"])), plural(int(best["epochs"]), "epoch")
    text = (
        f"Variant {best['value']} has the lowest error after {epochs}: {error}. That of variant "
        f"{worst['value']} is {ratio:.2f} times as high."
    )
    if comparison.numeric and len(rows) > 1:
        points = sorted((float(row["value"]), float(row["best_mse"])) for row in rows)
        axis = Axis(str(comparison.parameter))
        drawn = chart([Series("validation", points)], axis, Axis("MSE per pixel", low=0))
    else:
        drawn = bar_chart([Bar(row["value"], float(row["best_mse"])) for row in rows], color=5)
    figure = Figure(f"{title}: validation error (MSE per pixel)", text, drawn)
    pictures = [
        Figure(
            f"{title}: latent codes of each variant",
            f"The maps show the same validation images; {best['value']} has the lowest error.",
            picture=picture,
            wide=True,
        )
        for picture in outputs.pictures(f"compare/{name}/plots/maps.png")
    ]
    return [figure, _table(title, rows, comparison), *pictures]


def _table(title: str, rows: list[dict[str, str]], comparison: Comparison) -> Table:
    base = {path: json.dumps(value) for path, value in comparison.base.items()}
    shared = "; ".join(f"{path} = {value}" for path, value in base.items())
    text = f"All variants share {shared}." if shared else "The variants share all other settings."
    columns: dict[str, Callable[[dict[str, str]], str]] = {
        "variant": lambda row: row["value"],
        "MSE per pixel": lambda row: number(float(row["best_mse"])) + _spread(row),
        "best epoch": lambda row: f"{row['best_epoch']} of {row['epochs']}",
        "parameters": lambda row: f"{int(row['parameters']):,}",
    }
    if any(float(row.get("sparsity") or 0) for row in rows):
        columns["weights set to zero"] = lambda row: percent(float(row["sparsity"]))
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    return Table(f"{title}: variants", text, list(columns), cells)


def _spread(row: dict[str, str]) -> str:
    """Return the standard deviation over seeds, if there are several."""
    return f" ± {number(float(row['std']))}" if row.get("std") else ""
