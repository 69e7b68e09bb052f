"""`latentlab gate --against`: the other side, and what differs between the sides."""

import json
import shutil

import pytest

from gated import (
    ACCURACY,
    MSE,
    POLICY,
    accepted_run,
    edit_baseline,
    git,
    store_baseline,
    write_policy,
    write_results,
)
from latentlab.common.files import write_json
from latentlab.gate import against
from latentlab.gate.baseline import baseline_path, read_baseline
from latentlab.tracking.results import LoggedResults


@pytest.fixture
def committed(gated):
    """The checkout as a Git repository with one commit, whose tag is `base`."""
    (gated.root / "src" / "models").mkdir(parents=True)
    (gated.root / "src" / "models" / "code.py").write_text("")
    (gated.root / "src" / "cli.py").write_text("")
    git(gated.root, "init", "-q")
    git(gated.root, "add", "-A")
    git(gated.root, "commit", "-qm", "base")
    git(gated.root, "tag", "base")
    return gated


@pytest.fixture
def report(latentlab):
    """Return a function: exit code and JSON report of `latentlab gate` with these arguments."""

    def run(*arguments):
        answer = latentlab("gate", "--format", "json", *arguments)
        return answer.code, json.loads(answer.out)

    return run


def test_baseline_and_policy_of_a_revision_cannot_be_edited_away(committed, report):
    write_results(committed, mse=0.2, accuracy=0.9)
    store_baseline(committed, accepted_run(mse=0.2, accuracy=0.9))
    write_policy(committed, POLICY.replace("0.01", "9.0", 1))
    assert report()[0] == 0

    code, tree = report("--against", "base")

    assert (code, tree["verdict"]) == (1, "failed")
    assert tree["sides"]["baseline"]["source"] == "base:baselines/digits.json"
    assert tree["policy"]["metrics"][MSE]["smallest_effect"] == 0.01


def test_a_file_does_not_replace_the_revision_with_its_name(committed, report):
    write_results(committed, mse=0.2, accuracy=0.9)
    store_baseline(committed, accepted_run(mse=0.2, accuracy=0.9))
    shutil.copy(baseline_path(committed.root, "digits"), committed.root / "base")

    assert report("--against", "base")[0] == 1


def test_the_report_lists_parameters_source_files_and_data_that_differ(committed, report):
    text = committed.params.read_text()
    committed.params.write_text(text.replace("  seed: 0", "  seed: 1"))
    (committed.root / "src" / "models" / "code.py").write_text("x = 1")
    (committed.root / "src" / "models" / "new.py").write_text("")
    (committed.root / "src" / "cli.py").write_text("x = 1")  # cannot change a result

    _, tree = report("--against", "base")

    assert tree["differences"] == {
        "parameters": ["runtime.seed: 0 -> 1"],
        "source files": ["src/models/code.py", "src/models/new.py"],
        "data": ["the raw files"],
    }


def test_the_table_shows_differences_from_the_commit_of_the_baseline(committed, latentlab):
    commit = git(committed.root, "rev-parse", "HEAD")
    run = accepted_run(mse=0.1, accuracy=0.9).model_copy(update={"commit": commit})
    store_baseline(committed, run)
    committed.params.write_text(committed.params.read_text().replace("  seed: 0", "  seed: 1"))

    assert "parameters that differ (1): runtime.seed: 0 -> 1" in latentlab("gate").out


def test_code_that_was_committed_with_its_baseline_is_no_difference(committed, report):
    (committed.root / "src" / "models" / "code.py").write_text("x = 1")
    run = accepted_run(mse=0.1, accuracy=0.9)
    parent = git(committed.root, "rev-parse", "HEAD")
    store_baseline(committed, run.model_copy(update={"commit": parent, "dirty": True}))
    assert list(report()[1]["differences"]) == ["data"]

    git(committed.root, "commit", "-qam", "new code and its baseline")
    assert report()[1]["differences"]["source files"] == []

    (committed.root / "src" / "models" / "code.py").write_text("x = 2")
    assert report()[1]["differences"]["source files"] == ["src/models/code.py"]


def test_differences_from_an_unknown_commit_are_unknown(gated, report, latentlab):
    assert list(report()[1]["differences"]) == ["data"]
    assert "unknown whether these differ: parameters, source files" in latentlab("gate").out


def test_a_commit_that_no_longer_exists_is_replaced_by_that_of_the_baseline(committed, report):
    assert read_baseline(baseline_path(committed.root, "digits")).runs[0].commit == "c" * 40
    (committed.root / "src" / "models" / "code.py").write_text("x = 1")

    assert report()[1]["differences"]["source files"] == ["src/models/code.py"]


def test_a_file_is_a_baseline(gated, report):
    store_baseline(gated, accepted_run(mse=0.05, accuracy=0.9))
    path = baseline_path(gated.root, "digits")
    other = shutil.move(path, gated.root / "other.json")
    store_baseline(gated, accepted_run(mse=0.1, accuracy=0.9))

    assert report()[0] == 0
    assert report("--against", str(other))[0] == 1


def test_a_run_in_mlflow_is_a_baseline_of_one_run(gated, report, monkeypatch):
    other_stage = "  fetch/images/train: {direction: higher, smallest_effect: 0}\n"
    write_policy(gated, POLICY + other_stage)
    write_json(gated.outputs("fetch") / "metrics.json", {"images": {"train": 10}})

    def find_results(project, address):
        assert address == "run:abc"
        tags = {"seed": "3", "git_commit": "c" * 40, "dataset": "digits", "device": "cpu"}
        return LoggedResults({MSE: 0.05, ACCURACY: 0.9, "evaluate/name": "text"}, tags, None)

    monkeypatch.setattr(against, "find_results", find_results)

    code, tree = report("--against", "run:abc")

    assert code == 1
    assert tree["sides"]["baseline"]["source"] == "run:abc"
    assert tree["sides"]["baseline"]["runs"][0]["seed"] == 3
    assert tree["metrics"][0]["baseline"] == 0.05


def test_a_run_without_metrics_is_an_error(gated, latentlab, monkeypatch):
    empty = LoggedResults({"finetune/labeled": False}, {"dataset": "digits"}, None)
    monkeypatch.setattr(against, "find_results", lambda project, address: empty)

    answer = latentlab("gate", "--against", "run:abc")

    assert answer.code == 2
    assert "run:abc has no metrics" in answer.err


def test_what_does_not_exist_is_an_error(committed, error, message):
    message("gate/against: nothing", error("--against", "bsae"))
    message("gate/against: an option", error("--against", "--all"))
    message("gate/against: acceptance", error("--against", "base", "--accept"))


def test_errors_in_a_revision_name_it(committed, error, message):
    baseline_path(committed.root, "digits").unlink()
    write_policy(committed, "metrics: {a: 1}")
    git(committed.root, "commit", "-qam", "broken policy")
    message("gate/against: invalid policy", error("--against", "HEAD"))

    write_policy(committed)
    git(committed.root, "commit", "-qam", "no baseline")
    message("gate/against: missing baseline", error("--against", "HEAD"))


def test_a_revision_with_another_dataset_is_an_error(committed, error, message):
    edit_baseline(committed, lambda baseline: baseline.update(dataset="mnist"))
    git(committed.root, "commit", "-qam", "another dataset")
    message("gate/against: another dataset", error("--against", "HEAD"))
