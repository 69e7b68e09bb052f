"""`latentlab search --status`: how far a study is, told while it runs, after a kill, at its end."""

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
    """A record without trials; its tables take a while to be laid out."""
    return StudyRecord(tmp_path_factory.mktemp("record"), ["minimize"]).path


@pytest.fixture(scope="module")
def plain(repository):
    """All parameters, with values for those that are searched, and without comparisons."""
    tree = json.loads(json.dumps(read_yaml(repository / "params.yaml")))
    tree["train"]["model"] |= {"channels": [4], "hidden": 8, "latent_dim": 2}
    tree["train"] |= {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.0}
    return tree | {"compare": {}}


@pytest.fixture
def edit(checkout, plain):
    """Change the section `search` of params.yaml."""

    def change(**changes):
        tree = plain | {"search": plain["search"] | changes}
        checkout.params.write_text(json.dumps(tree))

    return change


@pytest.fixture
def project(checkout, edit):
    """A checkout that was fetched, and searches four trials."""
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


def enter(record, number, state=None, results=(), reason=""):
    """A trial that ended so, or is under way."""
    value = 10 + number
    trial = Trial(number, {HIDDEN: value}, {HIDDEN: value}, reason=reason, results=list(results))
    record.begin(trial, {HIDDEN: IntDistribution(1, 99)})
    history = [{"epoch": 1, "validation/loss": 1.0, "validation/mse": 1.0}]
    record.reach(number, 1, [Outcome("", history, 1, 10, 0.0, 0.0, None, finished=False)], 0.5)
    if state is not None:
        trial.state = state
        record.end(trial)


def enter_four(record):
    enter(record, 0, COMPLETE, [0.25])
    enter(record, 1, PRUNED, reason="not among the best after 1 epochs")
    enter(record, 2, COMPLETE, [1 / 16])
    enter(record, 3, FAILED, reason="the loss is not finite")


def left_by(project, pid, host=None):
    """Have a process be the driver."""
    drive(folder_of(project), pid, host)


@pytest.fixture
def status(latentlab):
    """What `--json` says of the study in `search`."""

    def ask():
        answer = latentlab("search", "--status", "--json")
        assert (answer.code, answer.err) == (0, "")
        return json.loads(answer.out)["search"]

    return ask


def test_before_the_first_trial_there_is_no_study(project, latentlab, status):
    path = folder_of(project) / "study.db"

    assert status() == {"state": "none", "wanted": 4, "like it": [], "path": str(path)}
    said = latentlab("search", "--status")
    assert said.out == f"search: no study yet of this space, these data and this code ({path})\n"
    assert not path.parent.exists()


def test_a_checkout_that_was_not_fetched_yet_has_no_study(checkout, latentlab):
    answer = latentlab("search", "--status")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("search: no study yet")


def test_a_study_whose_driver_is_alive_is_running(project, record, latentlab, status):
    enter(record, 0, COMPLETE, [0.25])
    enter(record, 1)
    enter(record, 2)

    assert status() == {
        "state": "running",
        "wanted": 4,
        "complete": 1,
        "pruned": 0,
        "failed": 0,
        "under way": 2,
        "best": [{"number": 0, "results": {"validation/mse": 0.25}, "values": {HIDDEN: 10}}],
        "path": str(record.path),
    }
    assert latentlab("search", "--status").out.splitlines() == [
        "search: running; of 4 trials 1 complete, 0 pruned, 0 failed, 2 under way",
        "best: trial 0, validation/mse 0.25",
        f"  {HIDDEN}: 10",
        f"record: {record.path}",
    ]


def test_a_study_is_running_to_its_last_moment(project, record, status):
    enter_four(record)

    assert status()["state"] == "running"


def test_a_study_whose_driver_was_killed_is_interrupted(project, record, latentlab, status):
    enter(record, 0, PRUNED, reason="not among the best after 1 epochs")
    enter(record, 1)
    left_by(project, ended_process())

    found = status()

    assert found["state"] == "interrupted"
    assert (found["pruned"], found["under way"]) == (1, 1)
    assert "best" not in found
    assert latentlab("search", "--status").out.splitlines() == [
        "search: interrupted; of 4 trials 0 complete, 1 pruned, 0 failed, 1 under way",
        "leads: trial 1, 0.5 at epoch 1",
        f"record: {record.path}",
    ]


def test_until_a_trial_is_complete_the_best_under_way_leads(project, record, latentlab, status):
    for number, results in enumerate([{2: 0.5}, {2: 0.25}, {}]):
        enter(record, number)
        for epochs, result in results.items():
            record.reach(number, epochs, [], result)
    enter(record, 3, PRUNED)

    assert status()["leader"] == {"number": 1, "epoch": 2, "result": 0.25}
    assert "leads: trial 1, 0.25 at epoch 2" in latentlab("search", "--status").out.splitlines()

    record.reach(0, 6, [], 0.375)

    assert status()["leader"] == {"number": 0, "epoch": 6, "result": 0.375}


def test_a_study_that_has_all_its_trials_is_complete(project, record, latentlab, status):
    enter_four(record)
    record.release()

    found = status()

    assert found["state"] == "complete"
    assert [found[each] for each in ("complete", "pruned", "failed", "under way")] == [2, 1, 1, 0]
    assert found["best"] == [
        {"number": 2, "results": {"validation/mse": 1 / 16}, "values": {HIDDEN: 12}}
    ]
    assert latentlab("search", "--status").out.splitlines() == [
        "search: complete; of 4 trials 2 complete, 1 pruned, 1 failed, 0 under way",
        "best: trial 2, validation/mse 0.0625",
        f"  {HIDDEN}: 12",
        f"record: {record.path}",
    ]


def test_a_study_that_was_killed_after_its_last_trial_is_complete(project, record, status):
    enter_four(record)
    left_by(project, ended_process())

    assert status()["state"] == "complete"


def test_another_number_of_trials_is_a_study_of_its_own_that_takes_from_the_first(
    project, record, edit, status, capsys
):
    enter_four(record)
    record.release()

    edit(**STUDY | {"trials": 5})

    found = status()
    assert (found["state"], found["wanted"]) == ("none", 5)
    assert found["like it"] == [str(record.path)]
    print_status("search", found)
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"one of 5 trials takes what was trained in {record.path}"


def test_another_space_is_another_study(project, record, edit, status):
    enter_four(record)

    edit(**STUDY | {"space": {HIDDEN: {"type": "int", "low": 2, "high": 99}}})

    assert status()["state"] == "none"


def test_where_a_study_runs_makes_no_other_study(project, record, edit, status):
    enter_four(record)
    record.release()

    edit(**STUDY | {"workers": 1})

    assert status()["state"] == "complete"


def test_with_several_objectives_every_trial_that_none_beats_is_named(
    project, edit, latentlab, status
):
    objectives = {"validation/mse": "minimize", "parameters": "minimize"}
    edit(**STUDY | {"objectives": objectives, "pruner": "none"})
    record = StudyRecord(folder_of(project), ["minimize", "minimize"])
    for number, results in enumerate([[0.25, 10.0], [0.5, 5.0], [0.5, 20.0], [0.125, 40.0]]):
        enter(record, number, COMPLETE, results)
    record.release()

    assert [each["number"] for each in status()["best"]] == [0, 1, 3]
    assert status()["best"][1]["results"] == {"validation/mse": 0.5, "parameters": 5.0}
    assert (
        "best: trial 3, validation/mse 0.125, parameters 40\n"
        in latentlab("search", "--status").out
    )


def test_a_study_without_ranges_has_nothing_to_wait_for(project, edit, status):
    """What the stage leaves where the space is empty: a record without trials."""
    edit(**STUDY | {"space": {}})
    StudyRecord(folder_of(project), ["minimize"]).release()

    assert status()["state"] in ("none", "complete")


def test_the_process_of_another_machine_is_not_looked_for_on_this_one(
    project, record, latentlab, status
):
    """Its number may be that of anything here."""
    enter(record, 0)
    found = []
    for number in (os.getpid(), ended_process()):
        left_by(project, number, host="elsewhere")
        found.append(status())

    assert found[0] == found[1]
    assert (found[0]["state"], found[0]["host"]) == ("running", "elsewhere")
    assert latentlab("search", "--status").out.startswith(
        "search: running on elsewhere, or killed there; of 4 trials "
    )


def test_the_status_of_a_study_that_is_being_written_is_told(project, record, status):
    """The driver writes while others look."""
    enter(record, 0)
    writer = sqlite3.connect(record.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    found = status()

    writer.rollback()
    writer.close()
    assert found["under way"] == 1


def test_to_ask_changes_nothing(project, record, status):
    enter_four(record)
    before = record.path.read_bytes()

    status()

    assert record.path.read_bytes() == before


def test_a_study_that_was_killed_before_its_first_trial_has_a_status(project, latentlab):
    """Its database is made before its study is."""
    folder = folder_of(project)
    folder.mkdir(parents=True)
    (folder / "study.db").touch()

    answer = latentlab("search", "--status")

    assert answer.code == 0
    assert "Traceback" not in answer.err


def test_a_record_that_cannot_be_read_is_one_message(project, latentlab):
    folder = folder_of(project)
    folder.mkdir(parents=True)
    (folder / "study.db").write_text("no database" * 1000)

    answer = latentlab("search", "--status")

    assert answer.code == 4
    assert answer.err.startswith(f"error: the study {folder / 'study.db'} cannot be")
    assert len(answer.err.splitlines()) == 1


def test_a_record_that_somebody_holds_is_one_message(project, record, latentlab, monkeypatch):
    monkeypatch.setattr("latentlab.search.record.SECONDS_TO_WAIT", 0.05)
    holder = sqlite3.connect(record.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    answer = latentlab("search", "--status")

    holder.rollback()
    holder.close()
    assert answer.code == 4
    assert answer.err.startswith(f"error: the study {record.path} cannot be used: database is loc")
    assert len(answer.err.splitlines()) == 1


def test_a_study_of_the_classifier_is_told_beside_that_of_the_autoencoder(project, latentlab):
    tree = json.loads(json.dumps(read_yaml(project.params)))
    ranges = {"finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}
    tree["finetune"]["search"] = {"trials": 7, "epochs": 2, "images": 100, "space": ranges}
    project.params.write_text(json.dumps(tree))

    lines = latentlab("search", "--status").out.splitlines()

    assert [line.split(":")[0] for line in lines] == ["search", "finetune"]
    told = json.loads(latentlab("search", "--status", "--json").out)
    assert told["finetune"]["wanted"] == 7
    assert told["finetune"]["state"] == "none"
    assert told["finetune"]["path"] != told["search"]["path"]
