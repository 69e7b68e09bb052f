"""Record the figures of the outputs at hand in docs/results.json, in the rows of docs/results.yaml.

A row has the mean and standard deviation over the runs recorded with the same command and
parameters, one for each seed; the newest of a seed counts. Its seconds are those of the training,
in the mean.
"""

import hashlib
import json
import statistics
from typing import Any

import mlflow

from latentlab.common.files import read_json, write_json
from latentlab.common.project import Project, find_project
from latentlab.gate.gate import read_metrics
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.schema import Params
from latentlab.params.yaml_io import read_yaml
from latentlab.pipeline.fingerprint import stage_fingerprint
from latentlab.tracking.store import store_uri


def main() -> None:
    """Record all rows that fit."""
    project = find_project()
    params = load_params(project.params)
    written = flatten(params.tree())
    metrics = read_metrics(project, params.data.name)
    mlflow.set_tracking_uri(store_uri(project))
    docs = project.root / "docs"
    target = docs / "results.json"
    results = read_json(target) if target.exists() else {}
    settings = _settings(written)
    recorded = False
    for name, row in read_yaml(docs / "results.yaml").items():
        fits = all(written.get(path) == value for path, value in row["where"].items())
        if not fits or row["metric"] not in metrics:
            continue
        # the figure may be of a stage that was not run again with these parameters
        stages = (row["metric"].partition("/")[0], row["trained_by"])
        runs = {stage: _run_of(project, params, stage) for stage in stages}
        if missing := [stage for stage, run in runs.items() if run is None]:
            print(f"{name}: {store_uri(project)} has no run of {missing[0]} with these parameters")
            continue
        run = runs[row["trained_by"]]
        one = {
            "value": metrics[row["metric"]],
            "seconds": round(_seconds(run, row.get("training")), 1),
            "run": run.info.run_id,
            "settings": settings,
        }
        if beside := row.get("beside"):
            one["beside"] = {called: metrics[metric] for called, metric in beside.items()}
        known = {
            seed: each
            for seed, each in results.get(name, {}).get("runs", {}).items()
            if each.get("settings") == settings and results[name]["command"] == row["command"]
        }
        results[name] = _entry(row, known | {str(params.runtime.seed): one})
        print(f"{name}: {one['value']:.4f}")
        recorded = True
    if not recorded:
        raise SystemExit("there is nothing to record; run `dvc repro` first")
    write_json(target, dict(sorted(results.items())))


def _run_of(project: Project, params: Params, stage: str) -> Any:
    """The newest finished run that made the outputs of a stage; None where MLflow has none."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(f"latentlab/{params.data.name}")
    key = stage_fingerprint(project, stage, params)
    query = f"tags.fingerprint = '{key}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], query) if experiment else []
    return found[0] if found else None


def _settings(written: dict[str, Any]) -> str:
    """A hash of all parameters but the seed, where things run, and what is compared on the side."""
    aside = ("runtime.", "compare.")
    decisive = {path: value for path, value in written.items() if not path.startswith(aside)}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _seconds(run: Any, training: str | None) -> float:
    """Of the training of a stage, or of the one of several that is called `training`."""
    if training is not None:
        parent, name = "tags.mlflow.parentRunId", "tags.mlflow.runName"
        query = f"{parent} = '{run.info.run_id}' and {name} = '{training}'"
        (run,) = mlflow.MlflowClient().search_runs([run.info.experiment_id], query)
    return run.data.metrics["seconds"]


def _entry(row: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
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
