import pytest

from latentlab.common.errors import ParamsError
from latentlab.tracking.results import find_results, tag_verdict


def evaluated_run(client, project):
    """Log a run of `evaluate` with its metrics, and return its id."""
    experiment = client.create_experiment("latentlab/digits", f"file://{project.home}/artifacts")
    run = client.create_run(experiment, tags={"stage": "evaluate", "seed": "3"})
    client.log_dict(run.info.run_id, {"test": {"mse": 0.1}}, "metrics.json")
    return run


def test_the_metrics_of_a_run_have_the_names_of_the_outputs(checkout, client):
    run = evaluated_run(client, checkout)

    results = find_results(checkout, f"run:{run.info.run_id}")

    assert results.metrics == {"evaluate/test/mse": 0.1}
    assert results.tags["seed"] == "3"


def test_a_model_has_the_metrics_of_the_run_that_evaluated_it(checkout, client):
    run = evaluated_run(client, checkout)
    model = client.create_logged_model(run.info.experiment_id, "vae")
    client.create_registered_model("vae")
    client.create_model_version("vae", f"models:/{model.model_id}", model_id=model.model_id)
    client.set_registered_model_alias("vae", "champion", "1")
    with pytest.raises(ParamsError, match="was not evaluated"):
        find_results(checkout, "models:/vae@champion")

    client.log_metric(run.info.run_id, "test/mse", 0.1, model_id=model.model_id)

    for address in ("models:/vae@champion", "models:/vae/1"):
        assert find_results(checkout, address).metrics == {"evaluate/test/mse": 0.1}


def test_what_is_not_in_the_store_is_an_error(checkout, client):
    for address in ("run:abc", "models:/vae@champion", "models:/vae/1"):
        with pytest.raises(ParamsError, match=f"{address} has no metrics in sqlite"):
            find_results(checkout, address)


def test_a_missing_store_is_an_error(checkout, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ParamsError, match="there is no MLflow store"):
        find_results(checkout, "run:abc")


def test_only_the_runs_of_evaluate_that_wrote_the_outputs_are_tagged(checkout, client):
    experiment = client.create_experiment("latentlab/digits")
    tags = {"kind": "stage", "stage": "evaluate", "outputs_hash": "a"}
    ids = [
        client.create_run(experiment, tags=tags | changes).info.run_id
        for changes in ({}, {"outputs_hash": "b"}, {"stage": "train"})
    ]

    assert tag_verdict(checkout, "digits", "a", "failed: mse", ["mse: 1 -> 2"]) == 1

    found = [client.get_run(run).data.tags.get("gate") for run in ids]
    assert found == ["failed: mse", None, None]
    assert client.get_run(ids[0]).data.tags["gate.changes"] == "mse: 1 -> 2"


def test_without_a_store_nothing_is_tagged(checkout, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert tag_verdict(checkout, "digits", "a", "passed", []) == 0
