import json

import pytest

from gated import MSE, accepted_run, edit_baseline, make_baseline
from latentlab.common.errors import ParamsError
from latentlab.gate.baseline import baseline_path, read_baseline, with_run, write_baseline


def test_what_is_written_is_read_again(tmp_path):
    baseline = make_baseline(accepted_run(mse=0.1), accepted_run(1, mse=0.3))
    write_baseline(tmp_path / "b.json", baseline)

    read = read_baseline(tmp_path / "b.json")

    assert read == baseline
    assert read.noise(MSE).mean == pytest.approx(0.2)
    assert read.noise("other") is None


def test_a_metric_that_is_not_in_all_runs_has_no_noise():
    baseline = make_baseline(accepted_run(mse=0.1), accepted_run(1, mse=0.1, elbo=3.0))

    assert baseline.noise("evaluate/test/elbo") is None
    assert baseline.metrics == [MSE, "evaluate/test/elbo"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no runs", lambda b: b.update(runs=[])),
        ("runs missing", lambda b: b.pop("runs")),
        ("a number of runs", lambda b: b.update(runs=10)),
        ("dataset missing", lambda b: b.pop("dataset")),
        ("unknown key", lambda b: b.update(mean=1)),
        ("run without a seed", lambda b: b["runs"][0].pop("seed")),
        ("seed 2.5", lambda b: b["runs"][0].update(seed=2.5)),
        ("seed as text", lambda b: b["runs"][0].update(seed="0")),
        ("no metrics", lambda b: b["runs"][0].update(metrics={})),
        ("metrics as list", lambda b: b["runs"][0].update(metrics=[1])),
        ("metric as text", lambda b: b["runs"][0]["metrics"].update({MSE: "0.1"})),
        ("metric null", lambda b: b["runs"][0]["metrics"].update({MSE: None})),
        ("metric true", lambda b: b["runs"][0]["metrics"].update({MSE: True})),
        ("metric NaN", lambda b: b["runs"][0]["metrics"].update({MSE: float("nan")})),
        ("metric infinite", lambda b: b["runs"][0]["metrics"].update({MSE: float("inf")})),
        ("huge metric", lambda b: b["runs"][0]["metrics"].update({MSE: 10**400})),
        ("n of a run", lambda b: b["runs"][0].update(n=-1)),
        ("the same run twice", lambda b: b["runs"].append(b["runs"][0])),
        ("another fingerprint", lambda b: b["runs"].append(b["runs"][0] | {"fingerprint": "g"})),
    ],
)
def test_invalid_baselines_are_errors(gated, error, message, name, change):
    edit_baseline(gated, change)
    message(f"gate/baseline: {name}", error())


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b["runs"][0]["metrics"].update({MSE: 0.5}),
        lambda b: b.update(reason="because"),
        lambda b: b.pop("checksum"),
        lambda b: b.update(checksum="0" * 64),
        lambda b: b.update(checksum=None),
    ],
    ids=["metric", "reason", "no checksum", "wrong checksum", "null"],
)
def test_an_edited_baseline_is_an_error(gated, error, message, change):
    path = baseline_path(gated.root, "digits")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))

    message("gate/baseline: edited", error())


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "<<<<<<< HEAD", '{"runs": 1, "runs": 2}', "[" * 9999]
)
def test_a_file_that_is_no_baseline_is_an_error(gated, error, text):
    path = baseline_path(gated.root, "digits")
    path.write_text(text)
    assert str(path) in error()


def test_a_missing_baseline_is_an_error(gated, error, message):
    baseline_path(gated.root, "digits").unlink()
    message("gate/baseline: missing", error())


@pytest.mark.parametrize("of", ["dataset", "profile"])
def test_a_baseline_of_something_else_is_an_error(gated, error, message, of):
    edit_baseline(gated, lambda b: b.update({of: "mnist"}))
    message(f"gate/baseline: of another {of}", error())


def test_only_the_seed_of_added_runs_may_differ(tmp_path, message):
    baseline = make_baseline(accepted_run(0, mse=0.1))

    assert len(with_run(baseline, accepted_run(1, mse=0.2), tmp_path).runs) == 2
    for name, run in {
        "the same run": accepted_run(0, mse=0.2),
        "another fingerprint": accepted_run(1, "g", mse=0.2),
    }.items():
        with pytest.raises(ParamsError) as caught:
            with_run(baseline, run, tmp_path / "digits.json")
        message(f"gate/added: {name}", caught.value)


def test_no_run_is_added_to_runs_of_unknown_provenance(tmp_path):
    unknown = accepted_run(mse=0.1).model_copy(update={"fingerprint": None})

    with pytest.raises(ParamsError, match="other parameters, code, data or torch"):
        with_run(make_baseline(unknown), accepted_run(1, mse=0.2), tmp_path)


def test_every_shipped_baseline_is_valid_and_named_after_its_profile(repository):
    paths = sorted((repository / "baselines").glob("*.json"))

    assert [read_baseline(path).profile for path in paths] == [path.stem for path in paths]
