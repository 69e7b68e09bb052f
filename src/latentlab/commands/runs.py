"""The command `latentlab runs`: a table of runs, and the run that produced each output."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from latentlab.common.errors import ParamsError
from latentlab.common.progress import output_console, short
from latentlab.common.project import Project
from latentlab.params.schema import Params
from latentlab.pipeline.fingerprint import outputs_hash, stage_fingerprint
from latentlab.pipeline.headlines import headline_metrics
from latentlab.tracking.queries import STAGE_RUNS, LoggedRun, search_runs
from latentlab.tracking.store import store_uri

MAX_METRICS = 3
"""Metrics of a run in the table, unless one is asked for."""


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
    finished = f"{STAGE_RUNS} and attributes.status = 'FINISHED'"
    runs = search_runs(project, params.data.name, finished)
    origins = []
    for folder in project.output_folders():
        output = folder.relative_to(project.root)
        stage = "@".join(output.parts[1:])
        try:
            fingerprint = stage_fingerprint(project, stage, params)
        except ParamsError:  # left over from a comparison that params.yaml no longer contains
            fingerprint = ""
        origins.append(_find_origin(runs, str(output), fingerprint, outputs_hash(folder)))
    return origins


def _find_origin(runs: list[LoggedRun], output: str, fingerprint: str, digest: str) -> Origin:
    """Return the first of the best matching runs, which are sorted from new to old."""
    by_inputs = [run for run in runs if run.fingerprint == fingerprint]
    by_outputs = [run for run in runs if run.outputs_hash == digest]
    candidates = {
        "exact": [run for run in by_outputs if run.fingerprint == fingerprint],
        "inputs changed": by_outputs,
        "outputs changed": by_inputs,
    }
    for match, matching in candidates.items():
        if matching:
            return Origin(output, match, matching[0], len(matching) - 1)
    return Origin(output, "", None)


def show_runs(runs: list[LoggedRun], metric: str = "", as_json: bool = False) -> None:
    """Print a table of runs with some metrics of each, or with one metric; or JSON with all."""
    if as_json:
        print(json.dumps([asdict(run) for run in runs], indent=2))
        return
    rows = []
    for run in runs:
        shown = headline_metrics(run.stage, run.metrics) if run.stage else run.metrics
        if metric:
            shown = {metric: run.metrics[metric]} if metric in run.metrics else {}
        values = [f"{name} {short(value)}" for name, value in list(shown.items())[:MAX_METRICS]]
        rows.append([*_columns(run), "\n".join(values)])
    _print_table(["name", "status", "started", "seconds", "commit", "run", "metrics"], rows)


def show_origins(project: Project, params: Params, as_json: bool) -> None:
    """Print the outputs and their runs, as a table or as JSON."""
    origins = find_origins(project, params)
    if as_json:
        print(json.dumps([asdict(origin) for origin in origins], indent=2))
        return
    none = f"no run in {store_uri(project)}"
    rows = []
    for origin in origins:
        match = f"{origin.match} (+{origin.others})" if origin.others else origin.match
        columns = _columns(origin.run) if origin.run else [none, *[""] * 5]
        rows.append([origin.output, match, *columns])
    _print_table(["output", "match", "name", "status", "started", "seconds", "commit", "run"], rows)


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
    from rich.table import Table

    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    output_console().print(table)
