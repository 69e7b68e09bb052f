"""Record the figures of the outputs at hand in docs/results.json, in the rows of docs/results.yaml.

A row has the mean and standard deviation over the runs recorded with the same command, one for each
seed; the newest of a seed counts.
"""

import statistics
from typing import Any

import mlflow

from latentlab.files import read_json, write_json
from latentlab.gate import read_metrics
from latentlab.identity import identify
from latentlab.params.paths import flatten
from latentlab.params.schema import Params
from latentlab.params.yaml_files import read_yaml
from latentlab.params_file import load_params
from latentlab.project import Project, find_project
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
        seconds = (run.info.end_time - run.info.start_time) / 1000
        one = {"value": metrics[row["metric"]], "seconds": seconds, "run": run.info.run_id}
        known = results.get(name, {}).get("runs", {})
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
    key = identify(project, stage, params)
    query = f"tags.input_hash = '{key}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], query) if experiment else []
    return found[0] if found else None


def _entry(row: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    values = [run["value"] for run in runs.values()]
    newest = list(runs.values())[-1]
    return {
        "report": row["report"],
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "seconds": round(newest["seconds"], 1),
        "command": row["command"],
        "run": newest["run"],
        "runs": runs,
    }


if __name__ == "__main__":
    main()
