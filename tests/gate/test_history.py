import json
import subprocess

from gated import MSE, accepted_run, store_baseline
from latentlab.common.files import write_json
from latentlab.gate.baseline import baseline_path


def commit(project, text):
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for arguments in (["add", "-A"], ["commit", "-qm", text]):
        subprocess.run(["git", *identity, *arguments], cwd=project.root, check=True)


def history(latentlab):
    answer = latentlab("gate", "--history", MSE, "--format", "json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_the_history_has_every_accepted_value_in_order(gated, latentlab):
    subprocess.run(["git", "init", "-q"], cwd=gated.root, check=True)
    earlier = {"metrics": {MSE: {"mean": 0.3, "std": 0.01, "n": 3}}}
    write_json(baseline_path(gated.root, "digits"), earlier)
    commit(gated, "a baseline of the earlier format")
    baseline_path(gated.root, "digits").write_text("<<<<<<< HEAD")
    commit(gated, "a conflict")
    store_baseline(gated, accepted_run(mse=0.2))
    commit(gated, "one run")
    latentlab("gate", "--accept", "--reason", "because")

    values = history(latentlab)

    assert [value["mean"] for value in values] == [0.3, 0.2, 0.1]
    assert [value["n"] for value in values] == [3, 1, 1]
    assert [bool(value["commit"]) for value in values] == [True, True, False]
    assert [value["reason"] for value in values] == [None, None, "because"]
    assert "because" in latentlab("gate", "--history", MSE).out


def test_a_commit_that_changes_nothing_is_left_out(gated, latentlab):
    subprocess.run(["git", "init", "-q"], cwd=gated.root, check=True)
    commit(gated, "one run")

    assert [value["date"] != "not committed" for value in history(latentlab)] == [True]


def test_an_edited_baseline_is_an_error(gated, latentlab):
    subprocess.run(["git", "init", "-q"], cwd=gated.root, check=True)
    path = baseline_path(gated.root, "digits")
    path.write_text(path.read_text().replace("0.1", "0.3"))

    assert latentlab("gate", "--history", MSE).code == 2


def test_a_metric_that_was_never_accepted_is_an_error(gated, error, message):
    message("gate/history: unknown metric", error("--history", f"{MSE}s"))
