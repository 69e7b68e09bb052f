"""Record metrics of the current outputs in docs/results.json, for the rows of docs/results.yaml.

A row has the mean and standard deviation over runs with the same command and parameters, one run
per seed; a newer run of a seed replaces the older one. Its `seconds` are the mean training time.
"""

import hashlib
import json
import statistics
from typing import Any

import mlflow

from latentlab.common.files import read_json, write_json
from latentlab.common.project import Project, find_project
from latentlab.gate.outputs import read_metrics
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.schema import Params
from latentlab.params.yaml_io import read_yaml
from latentlab.pipeline.fingerprint import stage_fingerprint
from latentlab.tracking.store import store_uri


def main() -> None:
    """Record all rows whose parameters are those of `params.yaml`."""
    project = find_project()
    params = load_params(project.params)
    values = flatten(params.tree())
    metrics = read_metrics(project, params.data.name, partial=True)
    mlflow.set_tracking_uri(store_uri(project))
    docs = project.root / "docs"
    target = docs / "results.json"
    results = read_json(target) if target.exists() else {}
    settings = _hash_settings(values)
    recorded = False
    for name, row in read_yaml(docs / "results.yaml").items():
        matches = all(values.get(path) == value for path, value in row["where"].items())
        if not matches or row["metric"] not in metrics:
            continue
        # without a run of these parameters, the metric belongs to other parameters
        stages = (row["metric"].partition("/")[0], row["trained_by"])
        runs = {stage: _run_of(project, params, stage) for stage in stages}
        if missing := [stage for stage, run in runs.items() if run is None]:
            print(f"{name}: {store_uri(project)} has no run of {missing[0]} with these parameters")
            continue
        run = runs[row["trained_by"]]
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
            for seed, run in results.get(name, {}).get("runs", {}).items()
            if run.get("settings") == settings and results[name]["command"] == row["command"]
        }
        results[name] = _entry(row, earlier | {str(params.runtime.seed): record})
        print(f"{name}: {record['value']:.4f}")
        recorded = True
    if not recorded:
        raise SystemExit("no row fits the current outputs; run `dvc repro` first")
    write_json(target, dict(sorted(results.items())))


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


def _hash_settings(values: dict[str, Any]) -> str:
    """Return a hash of all parameters but those of `runtime`, such as the seed, and `compare`."""
    ignored = ("runtime.", "compare.")
    relevant = {path: value for path, value in values.items() if not path.startswith(ignored)}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


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
        "report": row["report"],
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "seconds": round(statistics.mean(run["seconds"] for run in runs.values()), 1),
        "command": row["command"],
        "run": list(runs.values())[-1]["run"],
        "runs": runs,
    }


if __name__ == "__main__":
    main()
