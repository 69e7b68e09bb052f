from latentlab.tracking.verdicts import tag_verdict


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
