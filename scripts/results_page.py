"""Write docs/results.md from docs/results.yaml and docs/results.json."""

from pathlib import Path
from typing import Any

from latentlab.common.files import read_json, write_text
from latentlab.params.yaml_io import read_plain

LITERATURE = """\
## Comparison with the literature

| quantity | ours | published | source | protocol |
|---|--:|--:|---|---|
"""
COLUMNS = ("quantity", "report", "ours", "n", "ratio", "training", "command", "MLflow run")


def write_page(docs: Path) -> None:
    """Write the page next to its sources."""
    contents = read_plain(docs / "results.yaml")
    write_text(docs / "results.md", page(contents, read_json(docs / "results.json")))


def page(contents: dict[str, Any], results: dict[str, Any]) -> str:
    """Return the page: a section for each report, and a comparison with the literature."""
    parts = [contents["introduction"]]
    for name, section in contents["sections"].items():
        parts.append(f"## {section['title']}\n\n{section['text']}\n")
        rows = {key: row for key, row in contents["rows"].items() if row["section"] == name}
        parts.append(_table(rows, results["rows"]))
        parts += [
            f"![{figure['title']}](results/{results['figures'][key]['file']})\n\n"
            f"**{figure['title']}.** {figure['sentence']}\n"
            for key, figure in contents["figures"].items()
            if figure["section"] == name and key in results["figures"]
        ]
    lines = [
        f"| {each['quantity']} | {_value(results['rows'].get(each['row']))} | {each['published']} "
        f"| {each['source']} | {each['protocol']} |\n"
        for each in contents["literature"]
    ]
    parts.append(LITERATURE + "".join(lines))
    return "\n".join(parts)


def _table(rows: dict[str, Any], recorded: dict[str, Any]) -> str:
    header = f"| {' | '.join(COLUMNS)} |\n|---|--:|--:|--:|--:|--:|---|---|\n"
    return header + "".join(_row(row, recorded.get(name)) for name, row in rows.items())


def _row(row: dict[str, Any], entry: dict[str, Any] | None) -> str:
    reported = row["report"]
    cells = [row["quantity"], "" if reported is None else f"{reported:g}"]
    if entry is None:
        cells += ["not run", "", "", "", f"`{row['command']}`", ""]
    else:
        ratio = "" if reported is None else f"{entry['mean'] / reported:.2f}"
        cells += [_value(entry), str(entry["n"]), ratio, f"{entry['seconds']:.0f} s"]
        cells += [f"`{entry['command']}`", f"`{entry['run'][:8]}`"]
    return f"| {' | '.join(cells)} |\n"


def _value(entry: dict[str, Any] | None) -> str:
    """Return the mean with four significant digits, and the standard deviation with two."""
    if entry is None:
        return "not run"
    mean = f"{entry['mean']:.4g}"
    return mean if entry["std"] is None else f"{mean} ± {entry['std']:.2g}"
