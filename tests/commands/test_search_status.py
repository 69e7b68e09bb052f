"""`latentlab search --status` while a study runs, after it was killed, and when it is complete."""

import json
import os
import shutil
import sqlite3

import pytest
from optuna.distributions import IntDistribution

from crafting import drive, ended_process
from latentlab.commands.search_status import print_status
from latentlab.common.files import write_json
from latentlab.params.load import load_params
from latentlab.params.yaml_io import read_yaml
from latentlab.pipeline.fingerprint import study_folder
from latentlab.search.record import StudyRecord
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Outcome

pytestmark = pytest.mark.usefixtures("quick_records")

HIDDEN = "train.model.hidden"
STUDY = {
    "trials": 4,
    "space": {HIDDEN: {"type": "int", "low": 1, "high": 99}},
}


@pytest.fixture(scope="module")
def empty_record(tmp_path_factory):
    """A record without trials, to be copied because creating its tables is slow."""
    return StudyRecord(tmp_path_factory.mktemp("record"), ["minimize"]).path


@pytest.fixture(scope="module")
def plain(repository):
    """The shipped parameters with values in the place of `search`, and without comparisons."""
    tree = json.loads(json.dumps(read_yaml(repository / "params.yaml")))
    tree["train"]["model"] |= {"channels": [4], "hidden": 8, "latent_dim": 2}
    tree["train"] |= {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.0}
    return tree | {"compare": {}}


@pytest.fixture
def edit(checkout, plain):
    """Change the section `search` of `params.yaml`."""

    def change(**changes):
        tree = plain | {"search": plain["search"] | changes}
        checkout.params.write_text(json.dumps(tree))

    return change


@pytest.fixture
def project(checkout, edit):
    """A checkout with a dataset, and a search of four trials."""
    edit(**STUDY)
    write_json(checkout.outputs("fetch") / "dataset.json", {"digest": "of the images"})
    return checkout


def folder_of(project):
    params = load_params(project.params)
    return study_folder(project, "search", "search", params)


@pytest.fixture
def record(project, empty_record):
    folder = folder_of(project)
    folder.mkdir(parents=True)
    shutil.copy(empty_record, folder)
    return StudyRecord(folder, ["minimize"])


def add(record, number, state=None, results=(), reason=""):
    """Add a trial with a final state, or one that is running."""
    value = 10 + number
    trial = Trial(number, {HIDDEN: value}, {HIDDEN: value}, reason=reason, results=list(results))
    record.add_trial(trial, {HIDDEN: IntDistribution(1, 99)})
    history = [{"epoch": 1, "validation/loss": 1.0, "validation/mse": 1.0}]
    record.add_rung(number, 1, [Outcome("", history, 1, 10, 0.0, 0.0, None, finished=False)], 0.5)
    if state is not None:
        trial.state = state
        record.end_trial(trial)


def add_four(record):
    add(record, 0, COMPLETE, [0.25])
    add(record, 1, PRUNED, reason="not among the best after 1 epochs")
    add(record, 2, COMPLETE, [1 / 16])
    add(record, 3, FAILED, reason="the loss is not finite")


def set_driver(project, pid, host=None):
    """Register a process as the driver."""
    drive(folder_of(project), pid, host)


@pytest.fixture
def status(latentlab):
    """Return the output of `--json` for the study in `search`."""

    def run():
        answer = latentlab("search", "--status", "--json")
        assert (answer.code, answer.err) == (0, "")
        return json.loads(answer.out)["search"]

    return run


def test_without_a_record_there_is_no_study(project, latentlab, status, message):
    path = folder_of(project) / "study.db"

    assert status() == {"state": "none", "trials": 4, "similar": [], "path": str(path)}
    text = latentlab("search", "--status").out
    message("search status/none", text.replace(path.parent.name, "<study>"))
    assert not path.parent.exists()


def test_without_a_dataset_there_is_no_study(checkout, latentlab):
    answer = latentlab("search", "--status")

    assert (answer.code, answer.err) == (0, "")
    assert json.loads(latentlab("search", "--status", "--json").out)["search"]["state"] == "none"


def test_a_study_whose_driver_is_alive_is_running(project, record, latentlab, status, message):
    add(record, 0, COMPLETE, [0.25])
    add(record, 1)
    add(record, 2)

    assert status() == {
        "state": "running",
        "trials": 4,
        "complete": 1,
        "pruned": 0,
        "failed": 0,
        "running": 2,
        "best": [{"number": 0, "results": {"validation/mse": 0.25}, "values": {HIDDEN: 10}}],
        "path": str(record.path),
    }
    text = latentlab("search", "--status").out
    message("search status/running", text.replace(record.path.parent.name, "<study>"))


def test_a_study_with_all_trials_is_running_while_its_driver_is_alive(project, record, status):
    add_four(record)

    assert status()["state"] == "running"


def test_a_study_whose_driver_was_killed_is_interrupted(
    project, record, latentlab, status, message
):
    add(record, 0, PRUNED, reason="not among the best after 1 epochs")
    add(record, 1)
    set_driver(project, ended_process())

    result = status()

    assert result["state"] == "interrupted"
    assert (result["pruned"], result["running"]) == (1, 1)
    assert "best" not in result
    text = latentlab("search", "--status").out
    message("search status/interrupted", text.replace(record.path.parent.name, "<study>"))


def test_without_a_complete_trial_the_leader_is_the_best_at_the_highest_rung(
    project, record, latentlab, status
):
    for number, results in enumerate([{2: 0.5}, {2: 0.25}, {}]):
        add(record, number)
        for epochs, result in results.items():
            record.add_rung(number, epochs, [], result)
    add(record, 3, PRUNED)

    assert status()["leader"] == {"number": 1, "epoch": 2, "result": 0.25}
    assert "trial 1, 0.25 at epoch 2" in latentlab("search", "--status").out

    record.add_rung(0, 6, [], 0.375)

    assert status()["leader"] == {"number": 0, "epoch": 6, "result": 0.375}


def test_a_study_with_all_trials_is_complete(project, record, latentlab, status, message):
    add_four(record)
    record.release()

    result = status()

    assert result["state"] == "complete"
    assert [result[each] for each in ("complete", "pruned", "failed", "running")] == [2, 1, 1, 0]
    assert result["best"] == [
        {"number": 2, "results": {"validation/mse": 1 / 16}, "values": {HIDDEN: 12}}
    ]
    text = latentlab("search", "--status").out
    message("search status/complete", text.replace(record.path.parent.name, "<study>"))


def test_a_study_that_was_killed_after_its_last_trial_is_complete(project, record, status):
    add_four(record)
    set_driver(project, ended_process())

    assert status()["state"] == "complete"


def test_a_study_with_another_number_of_trials_names_the_one_that_it_reuses(
    project, record, edit, status, capsys, message
):
    add_four(record)
    record.release()

    edit(**STUDY | {"trials": 5})

    result = status()
    assert (result["state"], result["trials"]) == ("none", 5)
    assert result["similar"] == [str(record.path)]
    print_status("search", result | {"path": "<path>", "similar": ["<similar>"]})
    message("search status/similar study", capsys.readouterr().out)


def test_another_space_is_another_study(project, record, edit, status):
    add_four(record)

    edit(**STUDY | {"space": {HIDDEN: {"type": "int", "low": 2, "high": 99}}})

    assert status()["state"] == "none"


def test_the_number_of_workers_does_not_make_another_study(project, record, edit, status):
    add_four(record)
    record.release()

    edit(**STUDY | {"workers": 1})

    assert status()["state"] == "complete"


def test_with_several_objectives_the_best_trials_are_the_pareto_front(
    project, edit, latentlab, status
):
    objectives = {"validation/mse": "minimize", "parameters": "minimize"}
    edit(**STUDY | {"objectives": objectives, "pruner": "none"})
    record = StudyRecord(folder_of(project), ["minimize", "minimize"])
    for number, results in enumerate([[0.25, 10.0], [0.5, 5.0], [0.5, 20.0], [0.125, 40.0]]):
        add(record, number, COMPLETE, results)
    record.release()

    assert [each["number"] for each in status()["best"]] == [0, 1, 3]
    assert status()["best"][1]["results"] == {"validation/mse": 0.5, "parameters": 5.0}
    assert (
        "best: trial 3, validation/mse 0.125, parameters 40\n"
        in latentlab("search", "--status").out
    )


def test_a_study_of_an_empty_space_is_complete_without_trials(project, edit, status):
    edit(**STUDY | {"space": {}})
    StudyRecord(folder_of(project), ["minimize"]).release()

    assert (status()["state"], status()["trials"]) == ("complete", 0)


def test_a_driver_on_another_machine_counts_as_running(project, record, latentlab, status, message):
    """Its process id may belong to any process on this machine."""
    add(record, 0)
    results = []
    for number in (os.getpid(), ended_process()):
        set_driver(project, number, host="elsewhere")
        results.append(status())

    assert results[0] == results[1]
    assert (results[0]["state"], results[0]["host"]) == ("running", "elsewhere")
    text = latentlab("search", "--status").out
    message("search status/running elsewhere", text.replace(record.path.parent.name, "<study>"))


def test_the_status_can_be_read_while_the_driver_writes(project, record, status):
    add(record, 0)
    writer = sqlite3.connect(record.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    result = status()

    writer.rollback()
    writer.close()
    assert result["running"] == 1


def test_reading_the_status_does_not_change_the_record(project, record, status):
    add_four(record)
    before = record.path.read_bytes()

    status()

    assert record.path.read_bytes() == before


def test_an_empty_database_has_a_status(project, latentlab):
    folder = folder_of(project)
    folder.mkdir(parents=True)
    (folder / "study.db").touch()

    answer = latentlab("search", "--status")

    assert answer.code == 0
    assert "Traceback" not in answer.err


def test_a_record_that_cannot_be_read_is_an_error_of_one_line(project, latentlab, message):
    folder = folder_of(project)
    folder.mkdir(parents=True)
    (folder / "study.db").write_text("no database" * 1000)

    answer = latentlab("search", "--status")

    assert answer.code == 4
    message("search status/not a database", answer.err.replace(folder.name, "<study>"))


def test_a_locked_record_is_an_error_of_one_line(project, record, latentlab, monkeypatch, message):
    monkeypatch.setattr("latentlab.search.record.LOCK_TIMEOUT", 0.05)
    holder = sqlite3.connect(record.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    answer = latentlab("search", "--status")

    holder.rollback()
    holder.close()
    assert answer.code == 4
    message("search status/locked", answer.err.replace(record.path.parent.name, "<study>"))


def test_the_study_of_finetune_has_a_status_of_its_own(project, latentlab):
    tree = json.loads(json.dumps(read_yaml(project.params)))
    ranges = {"finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}
    tree["finetune"]["search"] = {
        "trials": 7,
        "epochs": 2,
        "max_train_images": 100,
        "space": ranges,
    }
    project.params.write_text(json.dumps(tree))

    lines = latentlab("search", "--status").out.splitlines()

    assert [line.split(":")[0] for line in lines] == ["search", "finetune"]
    statuses = json.loads(latentlab("search", "--status", "--json").out)
    assert statuses["finetune"]["trials"] == 7
    assert statuses["finetune"]["state"] == "none"
    assert statuses["finetune"]["path"] != statuses["search"]["path"]
