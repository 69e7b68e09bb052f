"""Record rows and figures of docs/results.yaml from the current outputs, and write docs/results.md.

A row has the mean and standard deviation over runs with the same command and parameters, one run
per seed; a newer run of a seed replaces the older one. Only parameters on which the row depends
count. Its `seconds` are the mean training time. A figure is a copy of a plot of seed 0.
"""

import hashlib
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from results_page import write_page

from latentlab.common.files import read_json, sha256_of, write_json
from latentlab.common.project import Project, find_project
from latentlab.gate.outputs import read_metrics
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.schema import Params
from latentlab.params.yaml_io import read_plain
from latentlab.pipeline.fingerprint import declaration_of, stage_fingerprint
from latentlab.tracking.store import store_uri


def main() -> None:
    """Record everything whose parameters are those of `params.yaml`."""
    project = find_project()
    params = load_params(project.params)
    mlflow.set_tracking_uri(store_uri(project))
    docs = project.root / "docs"
    contents = read_plain(docs / "results.yaml")
    target = docs / "results.json"
    results = read_json(target) if target.exists() else {"rows": {}, "figures": {}}
    rows = dict(_rows(project, params, contents["rows"], results["rows"]))
    figures = {}
    if params.runtime.seed == 0:
        figures = dict(_figures(project, params, contents["figures"]))
    if not rows and not figures:
        raise SystemExit(
            "no row or figure fits the current outputs; run a command of docs/results.yaml first"
        )
    results = {
        "rows": dict(sorted((results["rows"] | rows).items())),
        "figures": dict(sorted((results["figures"] | figures).items())),
    }
    write_json(target, results)
    write_page(docs)


def _rows(
    project: Project, params: Params, rows: dict[str, Any], recorded: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entry of each row that the current outputs have a value for."""
    metrics = read_metrics(project, params.data.name, partial=True)
    for name, row in rows.items():
        if not _fits(row, params) or row["metric"] not in metrics:
            continue
        # without a run of these parameters, the metric belongs to other parameters
        stages = (row["metric"].partition("/")[0], row["trained_by"])
        runs = {stage: _run_of(project, params, stage) for stage in stages if stage != "compare"}
        if missing := [stage for stage, run in runs.items() if run is None]:
            print(f"{name}: {store_uri(project)} has no run of {missing[0]} with these parameters")
            continue
        run = runs[row["trained_by"]]
        settings = _hash_settings(project, params, row)
        record = {
            "value": metrics[row["metric"]],
            "seconds": round(_seconds(run, row.get("training")), 1),
            "run": run.info.run_id,
            "settings": settings,
        }
        if related := row.get("related"):
            record["related"] = {title: metrics[metric] for title, metric in related.items()}
        earlier = {
            seed: run
            for seed, run in recorded.get(name, {}).get("runs", {}).items()
            if run.get("settings") == settings and recorded[name]["command"] == row["command"]
        }
        print(f"{name}: {record['value']:.4f}")
        yield name, _entry(row, earlier | {str(params.runtime.seed): record})


def _figures(
    project: Project, params: Params, figures: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copy the plots of the current outputs, and yield their SHA-256 and their run."""
    for name, figure in figures.items():
        source = project.root / figure["source"]
        run = _run_of(project, params, figure["stage"]) if _fits(figure, params) else None
        if run is None or not source.is_file():
            continue
        copy = project.root / "docs" / "results" / f"{name}{source.suffix}"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, copy)
        print(f"{name}: {copy}")
        yield name, {"file": copy.name, "sha256": sha256_of(copy), "run": run.info.run_id}


def _fits(entry: dict[str, Any], params: Params) -> bool:
    """Return whether the parameters have the values that an entry is about."""
    values = flatten(params.tree())
    return all(values.get(path) == value for path, value in entry["where"].items())


def _run_of(project: Project, params: Params, stage: str) -> Any:
    """Return the latest finished run of a stage with these parameters, or None."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(f"latentlab/{params.data.name}")
    fingerprint = stage_fingerprint(project, stage, params)
    query = (
        f"tags.kind = 'stage' and tags.fingerprint = '{fingerprint}' "
        "and attributes.status = 'FINISHED'"
    )
    matches = client.search_runs([experiment.experiment_id], query) if experiment else []
    return matches[0] if matches else None


def _hash_settings(project: Project, params: Params, row: dict[str, Any]) -> str:
    """Return a hash of the parameters on which a row depends, without those of `runtime`.

    These are the parameters in `where`, and those of the stages in `trained_by` and `measured_by`
    and of all stages whose outputs they read.
    """
    values = {path: value for path, value in flatten(params.tree()).items() if path in row["where"]}
    for stage in _upstream(project, params, [row["trained_by"], *row.get("measured_by", [])]):
        values |= declaration_of(project, stage, params).params
    values = {path: value for path, value in values.items() if not path.startswith("runtime.")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _upstream(project: Project, params: Params, stages: list[str]) -> set[str]:
    """Return stages of `dvc.yaml` and all stages whose outputs they read."""
    found: set[str] = set()
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if stage not in found:
            found.add(stage)
            deps = [Path(dep).parts for dep in declaration_of(project, stage, params).deps]
            waiting += [parts[1] for parts in deps if parts[0] == "outputs"]
    return found


def _seconds(run: Any, training: str | None) -> float:
    """Return the training time of a stage, or of its nested run `training`."""
    if training is not None:
        parent, name = "tags.mlflow.parentRunId", "tags.mlflow.runName"
        query = f"{parent} = '{run.info.run_id}' and {name} = '{training}'"
        (run,) = mlflow.MlflowClient().search_runs([run.info.experiment_id], query)
    return run.data.metrics["seconds"]


def _entry(row: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the entry of a row with statistics over its runs, which are given by seed."""
    values = [run["value"] for run in runs.values()]
    return {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "seconds": round(statistics.mean(run["seconds"] for run in runs.values()), 1),
        "command": row["command"],
        "run": list(runs.values())[-1]["run"],
        "runs": dict(sorted(runs.items(), key=lambda each: int(each[0]))),
    }


if __name__ == "__main__":
    main()
