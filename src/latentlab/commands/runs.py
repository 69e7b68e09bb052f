"""The command `latentlab runs`: a table of runs, and the run that produced each output."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from latentlab.common.progress import short
from latentlab.common.project import FOREACH_STAGES, Project
from latentlab.params.schema import Params
from latentlab.pipeline.fingerprint import outputs_hash, stage_fingerprint
from latentlab.pipeline.headlines import headline_metrics
from latentlab.tracking.queries import LoggedRun, runs_with_tag

MAX_METRICS = 3
"""Metrics of a run in the table, unless one is asked for."""

EXACT, CHANGED_INPUTS, CHANGED_OUTPUTS = "exact", "inputs changed", "outputs changed"
"""How a run matches an output: by outputs and fingerprint, by outputs, or by fingerprint."""


@dataclass(frozen=True)
class Origin:
    """The newest run that produced an output folder, and how many others produced the same.

    `match` is `exact`, `inputs changed` (the run wrote these files, but the code, the parameters or
    the inputs have changed since) or `outputs changed` (the run had today's code, parameters and
    inputs, but wrote other files). Without a run, `match` is empty.
    """

    output: str
    match: str
    run: LoggedRun | None
    others: int = 0


def find_origins(project: Project, params: Params) -> list[Origin]:
    """Return the run that produced each output folder in the work tree."""
    origins = []
    for folder in project.output_folders():
        output = folder.relative_to(project.root)
        stage = "@".join(output.parts[1:]) if output.parts[1] in FOREACH_STAGES else folder.name
        origins.append(_find_origin(project, params, stage, str(output), outputs_hash(folder)))
    return origins


def _find_origin(project: Project, params: Params, stage: str, output: str, digest: str) -> Origin:
    dataset = params.data.name
    fingerprint = stage_fingerprint(project, stage, params)
    by_inputs = runs_with_tag(project, dataset, "fingerprint", fingerprint)
    by_outputs = runs_with_tag(project, dataset, "outputs_hash", digest)
    ids = {run.id for run in by_inputs}
    candidates = {
        EXACT: [run for run in by_outputs if run.id in ids],
        CHANGED_INPUTS: by_outputs,
        CHANGED_OUTPUTS: by_inputs,
    }
    for match, runs in candidates.items():
        if runs:
            return Origin(output, match, runs[0], len(runs) - 1)
    return Origin(output, "", None)


def print_runs(runs: list[LoggedRun], metric: str = "") -> None:
    """Print a table of runs with some metrics of each, or with one metric."""
    rows = []
    for run in runs:
        shown = headline_metrics(run.stage, run.metrics) if run.stage else run.metrics
        if metric:
            shown = {metric: run.metrics[metric]} if metric in run.metrics else {}
        values = [f"{name} {short(value)}" for name, value in list(shown.items())[:MAX_METRICS]]
        rows.append([*_columns(run), "\n".join(values)])
    _print_table(["name", "status", "started", "seconds", "commit", "run", "metrics"], rows)


def print_origins(origins: list[Origin], store: str) -> None:
    """Print a table of the outputs and their runs; `store` is the store that was searched."""
    rows = []
    for origin in origins:
        match = f"{origin.match} (+{origin.others})" if origin.others else origin.match
        columns = _columns(origin.run) if origin.run else [f"no run in {store}", *[""] * 5]
        rows.append([origin.output, match, *columns])
    _print_table(["output", "match", "name", "status", "started", "seconds", "commit", "run"], rows)


def as_json(origins: list[Origin]) -> list[dict[str, Any]]:
    """Return the origins as a value for JSON."""
    return [asdict(origin) for origin in origins]


def _columns(run: LoggedRun) -> list[str]:
    started = datetime.fromisoformat(run.started).astimezone()
    return [
        run.name,
        run.status,
        f"{started:%Y-%m-%d %H:%M}",
        "" if run.seconds is None else f"{run.seconds:.1f}",
        run.commit[:7] + ("*" if run.dirty else ""),
        run.id[:8],
    ]


def _print_table(headers: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # in a file or a pipe, no line is cut
    Console(width=None if console.is_terminal else 1000).print(table)
