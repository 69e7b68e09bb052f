"""The record of a study: what it stores, and its errors."""

import dataclasses
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from crafting import drive, ended_process, opened_by_optuna
from latentlab.common.errors import EnvironmentProblem
from latentlab.search.record import StudyRecord
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Outcome

pytestmark = pytest.mark.usefixtures("quick_records")

DISTRIBUTIONS = {
    "train.model.channels": CategoricalDistribution(["[4]", "[4, 8]"]),
    "train.model.hidden": IntDistribution(4, 16),
    "train.learning_rate": FloatDistribution(0.001, 0.1, log=True),
}


def trial(number, rate=0.1 / 3):
    values = {"train.model.channels": [4, 8], "train.model.hidden": 4 + number}
    params = values | {"train.model.channels": "[4, 8]"}
    rates = {"train.learning_rate": rate}
    return Trial(number, values | rates, params | rates)


def outcome(number, epochs, split=0, **changes):
    """An outcome with values, such as 1/3, that have no short decimal representation."""
    history = [
        {"epoch": epoch, "learning_rate": 1 / 3, "validation/loss": number + 1 / 3 / epoch}
        for epoch in range(1, epochs + 1)
    ]
    fields = {
        "name": f"trial {number}, split {split:02}",
        "history": history,
        "best_epoch": epochs,
        "parameters": 1000,
        "sparsity": 0.0,
        "seconds": 1 / 7,
        "error": None,
        "finished": epochs == 4,
        "cost": {"latency": 2 / 3},
    }
    return Outcome(**fields | changes)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A record without trials, to be copied because creating its tables is slow."""
    record = StudyRecord(tmp_path_factory.mktemp("empty"), ["minimize"])
    record.release()
    return record.path


@pytest.fixture
def folder(empty, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(empty, folder)
    return folder


@pytest.fixture
def record(folder):
    return StudyRecord(folder, ["minimize"])


def fill(record):
    """Add three trials that end in different states, and one that is running."""
    trials = [trial(number) for number in range(4)]
    for each in trials:
        record.add_trial(each, DISTRIBUTIONS)
    for each in trials:
        record.add_rung(each.number, 1, [outcome(each.number, 1)], 0.5)
    record.add_rung(0, 4, [outcome(0, 4)], 0.25)
    record.add_rung(2, 4, [outcome(2, 1, error="it diverged", finished=True)], None)
    ends = [(COMPLETE, [1 / 3], ""), (PRUNED, [4 / 3], "not among the best"), (FAILED, [], "oh")]
    for each, (state, results, reason) in zip(trials, ends, strict=False):
        each.state, each.results, each.reason = state, results, reason
        record.end_trial(each)
    return trials


@pytest.fixture
def process():
    """Another process, which is alive."""
    sleeping = subprocess.Popen(["sleep", "600"])
    yield sleeping
    sleeping.kill()
    sleeping.wait()


def test_a_record_that_is_opened_again_returns_what_was_added(folder, record):
    assert len(record) == 0
    fill(record)

    again = StudyRecord(folder, ["minimize"])

    assert len(again) == 4
    assert again.outcomes(0, 1) == [outcome(0, 1)]
    assert again.outcomes(0, 4) == [outcome(0, 4)]
    assert again.outcomes(2, 4) == [outcome(2, 1, error="it diverged", finished=True)]
    assert again.final_state(0) == (COMPLETE, "")
    assert again.final_state(1) == (PRUNED, "not among the best")
    assert again.final_state(2) == (FAILED, "oh")


def test_a_record_returns_none_for_what_was_not_added(folder, record):
    fill(record)

    again = StudyRecord(folder, ["minimize"])

    assert again.outcomes(1, 4) is None
    assert again.outcomes(7, 1) is None
    assert again.final_state(3) is None
    assert again.final_state(7) is None


def test_a_running_trial_can_be_continued_in_a_record_that_is_opened_again(folder, record):
    fill(record)

    again = StudyRecord(folder, ["minimize"])
    running = trial(3)
    again.add_trial(running, DISTRIBUTIONS)
    again.add_rung(3, 4, [outcome(3, 4)], 0.25)
    running.state, running.results = COMPLETE, [1.0]
    again.end_trial(running)

    last = StudyRecord(folder, ["minimize"])
    assert len(last) == 4
    assert last.outcomes(3, 4) == [outcome(3, 4)]
    assert last.final_state(3) == (COMPLETE, "")


def test_the_final_state_of_a_trial_cannot_be_changed(folder, record):
    trials = fill(record)

    again = StudyRecord(folder, ["minimize"])
    again.add_trial(trials[0], DISTRIBUTIONS)
    trials[0].state, trials[0].results = FAILED, []
    again.end_trial(trials[0])

    assert StudyRecord(folder, ["minimize"]).final_state(0) == (COMPLETE, "")


def test_outcomes_are_found_in_similar_records(folder, record, tmp_path):
    trials = fill(record)
    other = StudyRecord(tmp_path / "longer", ["minimize"], [tmp_path / "nothing", folder])

    assert len(other) == 0
    assert other.outcomes(0, 1) is None
    assert other.similar_outcomes(trials[0], 1) == [outcome(0, 1)]
    assert other.similar_outcomes(trials[0], 4) == [outcome(0, 4)]
    assert other.similar_outcomes(trials[1], 4) is None
    assert other.similar_outcomes(trial(4), 1) is None
    assert record.similar_outcomes(trials[0], 1) is None


def test_outcomes_of_a_similar_record_must_be_of_the_same_parameters(folder, record, tmp_path):
    first, *_ = fill(record)
    other = StudyRecord(tmp_path / "longer", ["minimize"], [folder])
    name, value = next(iter(first.params.items()))

    assert other.similar_outcomes(
        dataclasses.replace(first, params=first.params | {name: value}), 1
    )
    assert (
        other.similar_outcomes(dataclasses.replace(first, params=first.params | {name: "other"}), 1)
        is None
    )


def test_a_rung_has_the_outcomes_of_all_folds(folder, record):
    record.add_trial(trial(0), DISTRIBUTIONS)
    folds = [outcome(0, 2, split) for split in range(3)]
    record.add_rung(0, 2, folds, 0.5)

    assert StudyRecord(folder, ["minimize"]).outcomes(0, 2) == folds


def test_optuna_reads_what_was_added(folder, record):
    trials = fill(record)

    with opened_by_optuna(record.path) as study:
        loaded, best = study.get_trials(), study.best_trial

    assert [each.number for each in loaded] == [0, 1, 2, 3]
    assert [each.state.name for each in loaded] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [each.params for each in loaded] == [each.params for each in trials]
    assert [each.distributions for each in loaded] == [DISTRIBUTIONS] * 4
    assert [each.user_attrs["values"] for each in loaded] == [each.values for each in trials]
    assert (best.number, best.value) == (0, 1 / 3)
    assert loaded[0].intermediate_values == {1: 0.5, 4: 0.25}
    assert all(each.datetime_start for each in loaded)
    assert [each.datetime_complete is None for each in loaded] == [False, False, False, True]


def test_optuna_reads_all_objectives(tmp_path):
    record = StudyRecord(tmp_path, ["minimize", "maximize"])
    both = trial(0)
    record.add_trial(both, DISTRIBUTIONS)
    both.state, both.results = COMPLETE, [0.5, 7.0]
    record.end_trial(both)

    with opened_by_optuna(record.path) as study:
        assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
        assert study.trials[0].values == [0.5, 7.0]


def test_a_trial_with_other_parameters_is_refused(folder, record, message):
    record.add_trial(trial(0), DISTRIBUTIONS)

    for other in (trial(0, rate=0.02), Trial(0, {}, {})):
        with pytest.raises(EnvironmentProblem) as error:
            StudyRecord(folder, ["minimize"]).add_trial(other, {})
        message("search/record: other parameters", error.value)


def test_a_trial_that_another_program_added_is_refused(folder, record, message):
    """Before the record was opened, or while this process runs the study."""
    with opened_by_optuna(record.path) as study:
        study.add_trial(optuna.trial.create_trial(value=0.0))

    with pytest.raises(EnvironmentProblem) as error:
        StudyRecord(folder, ["minimize"]).add_trial(trial(0), DISTRIBUTIONS)
    message("search/record: other parameters", error.value)
    with pytest.raises(EnvironmentProblem) as error:
        record.add_trial(trial(0), DISTRIBUTIONS)
    message("search/record: trial of another program", error.value)


def test_a_second_driver_is_refused_until_the_first_one_ends(folder, process, message):
    drive(folder, process.pid)
    for _ in range(2):
        with pytest.raises(EnvironmentProblem) as error:
            StudyRecord(folder, ["minimize"])
        message(
            "search/record: second driver",
            re.sub("process [0-9]+", "process <pid>", str(error.value)),
        )

    process.kill()
    process.wait()
    StudyRecord(folder, ["minimize"])


def test_a_driver_that_ended_is_replaced(folder):
    drive(folder, ended_process())

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_driver_that_is_a_zombie_is_replaced(folder, process):
    """A container whose first process does not wait for its children keeps zombies."""
    drive(folder, process.pid)
    process.kill()
    state = Path(f"/proc/{process.pid}/stat")
    if not state.exists():
        pytest.skip("needs /proc")
    while state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        pass

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_driver_whose_process_id_was_reused_is_replaced(folder, process):
    drive(folder, process.pid, started=0.0)

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_driver_on_another_machine_is_not_looked_up_on_this_one(folder, process):
    drive(folder, process.pid, host="elsewhere")

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_trial_that_a_driver_on_another_machine_ended_is_an_error(record, message):
    """Machines that share a folder do not see each other's processes."""
    ours = trial(0)
    record.add_trial(ours, DISTRIBUTIONS)
    with opened_by_optuna(record.path) as study:
        study.tell(0, 0.5)
    ours.state, ours.results = COMPLETE, [0.5]

    with pytest.raises(EnvironmentProblem) as error:
        record.add_rung(0, 2, [outcome(0, 2)], 0.5)
    message("search/record: trial ended elsewhere", error.value)
    with pytest.raises(EnvironmentProblem) as error:
        record.end_trial(ours)
    message("search/record: trial ended elsewhere", error.value)


def test_a_study_that_was_released_has_no_driver(folder, process, record):
    drive(folder, process.pid)
    record.release()

    assert len(StudyRecord(folder, ["minimize"])) == 0


def fork_driver(folder, reports, start):
    """Fork a process that opens the study at a given time, reports the result, and stays alive."""
    pid = os.fork()
    if pid:
        return pid
    try:
        while time.monotonic() < start:
            pass
        StudyRecord(folder, ["minimize"])
        os.write(reports, b"registered\n")
    except EnvironmentProblem:
        os.write(reports, b"refused\n")
    finally:
        signal.pause()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_of_two_drivers_that_start_at_once_only_one_is_registered(empty, tmp_path):
    """Repeatedly, to hit the moment between reading and writing the entry."""
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(empty, folder)
        reading, writing = os.pipe()
        start = time.monotonic() + 0.1

        drivers = [fork_driver(folder, writing, start) for _ in range(2)]

        with os.fdopen(reading) as reports:
            results = {reports.readline().strip() for _ in drivers}
        for driver in drivers:
            os.kill(driver, signal.SIGKILL)
            os.waitpid(driver, 0)
        os.close(writing)
        assert results == {"registered", "refused"}


@pytest.fixture
def locked(monkeypatch):
    """Lock a database, as a program does that is writing to it."""
    monkeypatch.setattr("latentlab.search.record.LOCK_TIMEOUT", 0.05)
    holders = []

    def lock(path):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        holders.append(holder)
        return holder

    yield lock
    for holder in holders:
        holder.close()


def test_a_locked_database_is_an_environment_problem(folder, locked, message):
    holder = locked(folder / "study.db")

    with pytest.raises(EnvironmentProblem) as error:
        StudyRecord(folder, ["minimize"])

    message("search/record: locked", error.value)
    holder.rollback()
    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_database_that_is_locked_while_the_study_runs_loses_nothing(folder, locked, message):
    record = StudyRecord(folder, ["minimize"])
    fill(record)
    holder = locked(record.path)

    writes = [
        lambda: record.add_rung(3, 4, [outcome(3, 4)], 0.25),
        lambda: record.end_trial(Trial(3, {}, {}, FAILED, "it diverged")),
        record.release,
    ]
    for write in writes:
        with pytest.raises(EnvironmentProblem) as error:
            write()
        message("search/record: locked", error.value)

    holder.rollback()
    again = StudyRecord(folder, ["minimize"])
    assert len(again) == 4
    assert again.final_state(0) == (COMPLETE, "")
    assert again.outcomes(3, 1) == [outcome(3, 1)]
    assert again.outcomes(3, 4) is None
    assert again.final_state(3) is None


def test_a_trial_cannot_be_added_to_a_locked_database(folder, locked, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna waits between its attempts
    record = StudyRecord(folder, ["minimize"])
    holder = locked(record.path)

    with pytest.raises(EnvironmentProblem, match="database is locked"):
        record.add_trial(trial(0), DISTRIBUTIONS)

    holder.rollback()
    assert len(StudyRecord(folder, ["minimize"])) == 0


def add_trials(record, added):
    """Add trials until it fails; `added` gets the numbers of those that were added."""
    while True:
        number = len(added)
        record.add_trial(Trial(number, {}, {}), {})
        record.add_rung(number, 1, [outcome(number, 99)], 0.5)
        added.append(number)


def test_a_full_disk_is_an_environment_problem_and_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna waits between its attempts
    pages = (folder / "study.db").stat().st_size // 4096 + 9

    def no_more_pages(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", no_more_pages)
    added = []
    try:
        with pytest.raises(EnvironmentProblem, match="database or disk is full"):
            add_trials(StudyRecord(folder, ["minimize"]), added)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", no_more_pages)

    assert added
    again = StudyRecord(folder, ["minimize"])
    assert len(added) <= len(again) <= len(added) + 1
    assert all(again.outcomes(number, 1) == [outcome(number, 99)] for number in added)
    number = len(again)
    again.add_trial(Trial(number, {}, {}), {})
    assert len(StudyRecord(folder, ["minimize"])) == number + 1


@contextmanager
def no_file_longer_than(size):
    """Limit the size of files, like a quota; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_quota_is_an_environment_problem_and_loses_nothing(tmp_path, monkeypatch):
    """When the file is created, while its tables are created, and while trials are added."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna waits between its attempts
    for kibibytes in (0, 40, 180):
        folder, added = tmp_path / str(kibibytes), []

        with (
            pytest.raises(EnvironmentProblem, match="cannot be read or written"),
            no_file_longer_than(kibibytes * 1024),
        ):
            add_trials(StudyRecord(folder, ["minimize"]), added)

        assert bool(added) == (kibibytes == 180)
        again = StudyRecord(folder, ["minimize"])
        assert len(added) <= len(again) <= len(added) + 1
        assert all(again.outcomes(number, 1) == [outcome(number, 99)] for number in added)


def test_a_record_whose_creation_was_killed_can_be_opened(tmp_path):
    """A copy of its folder before a commit is what a kill at this moment would leave."""
    folder = tmp_path / "study"
    copies = []

    def copy(*_):
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(folder, copies[-1])

    def copy_between(connection, cursor, statement, *_):
        if statement.strip().startswith("CREATE TABLE studies"):  # its index is created next
            copy()

    events = {"commit": copy, "after_cursor_execute": copy_between}
    for name, listener in events.items():
        sqlalchemy.event.listen(sqlalchemy.Engine, name, listener)
    StudyRecord(folder, ["minimize"])
    for name, listener in events.items():
        sqlalchemy.event.remove(sqlalchemy.Engine, name, listener)

    assert len(copies) > 5
    for left in copies:
        record = StudyRecord(left, ["minimize"])
        record.add_trial(trial(0), DISTRIBUTIONS)
        assert len(StudyRecord(left, ["minimize"])) == 1


def test_a_file_that_is_not_a_database_is_an_environment_problem(tmp_path):
    (tmp_path / "study.db").write_text("no database" * 1000)

    with pytest.raises(EnvironmentProblem, match="file is not a database"):
        StudyRecord(tmp_path, ["minimize"])


def test_a_folder_that_cannot_be_created_is_an_environment_problem(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises((EnvironmentProblem, OSError)):
        StudyRecord(tmp_path / "file" / "study", ["minimize"])


def test_a_record_can_be_in_a_folder_with_any_name(tmp_path):
    """Characters with a meaning in URLs, of which Optuna makes storages."""
    names = ["a b", "a#b", "a?b", "a%41b", "a{b}c", "a+b", "ä", "a'b"]
    for name in names:
        folder = tmp_path / name / "study"

        record = StudyRecord(folder, ["minimize"])
        record.add_trial(trial(0), DISTRIBUTIONS)

        assert (folder / "study.db").is_file()
        assert len(StudyRecord(folder, ["minimize"])) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
