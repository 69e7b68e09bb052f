"""What the record of a study keeps, and what it says where it cannot be used."""

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
    drawn = values | {"train.model.channels": "[4, 8]"}
    rates = {"train.learning_rate": rate}
    return Trial(number, values | rates, drawn | rates)


def outcome(number, epochs, part=0, **changes):
    """What a training may have come to; thirds, because they have no short decimal."""
    history = [
        {"epoch": epoch, "learning_rate": 1 / 3, "validation/loss": number + 1 / 3 / epoch}
        for epoch in range(1, epochs + 1)
    ]
    fields = {
        "name": f"trial {number}, part {part:02}",
        "history": history,
        "best_epoch": epochs,
        "parameters": 1000,
        "sparsity": 0.0,
        "seconds": 1 / 7,
        "fault": None,
        "over": epochs == 4,
        "figures": {"latency": 2 / 3},
    }
    return Outcome(**fields | changes)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A record without trials; its tables take a while to be laid out."""
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
    """Three trials that end in three ways, and one that is under way."""
    trials = [trial(number) for number in range(4)]
    for each in trials:
        record.begin(each, DISTRIBUTIONS)
    for each in trials:
        record.reach(each.number, 1, [outcome(each.number, 1)], 0.5)
    record.reach(0, 4, [outcome(0, 4)], 0.25)
    record.reach(2, 4, [outcome(2, 1, error="it diverged", finished=True)], None)
    ends = [(COMPLETE, [1 / 3], ""), (PRUNED, [4 / 3], "not among the best"), (FAILED, [], "oh")]
    for each, (state, results, reason) in zip(trials, ends, strict=False):
        each.state, each.results, each.reason = state, results, reason
        record.end(each)
    return trials


@pytest.fixture
def somebody():
    """A process that is alive."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_record_that_is_opened_again_knows_what_was_entered(folder, record):
    assert len(record) == 0
    fill(record)

    again = StudyRecord(folder, ["minimize"])

    assert len(again) == 4
    assert again.outcomes(0, 1) == [outcome(0, 1)]
    assert again.outcomes(0, 4) == [outcome(0, 4)]
    assert again.outcomes(2, 4) == [outcome(2, 1, error="it diverged", finished=True)]
    assert again.ended(0) == (COMPLETE, "")
    assert again.ended(1) == (PRUNED, "not among the best")
    assert again.ended(2) == (FAILED, "oh")


def test_what_was_not_reached_is_not_known(folder, record):
    fill(record)

    again = StudyRecord(folder, ["minimize"])

    assert again.outcomes(1, 4) is None
    assert again.outcomes(7, 1) is None
    assert again.ended(3) is None
    assert again.ended(7) is None


def test_a_trial_that_was_entered_goes_on_in_a_record_that_is_opened_again(folder, record):
    fill(record)

    again = StudyRecord(folder, ["minimize"])
    under_way = trial(3)
    again.begin(under_way, DISTRIBUTIONS)
    again.reach(3, 4, [outcome(3, 4)], 0.25)
    under_way.state, under_way.results = COMPLETE, [1.0]
    again.end(under_way)

    last = StudyRecord(folder, ["minimize"])
    assert len(last) == 4
    assert last.outcomes(3, 4) == [outcome(3, 4)]
    assert last.ended(3) == (COMPLETE, "")


def test_a_trial_that_ended_stays_as_it_is(folder, record):
    trials = fill(record)

    again = StudyRecord(folder, ["minimize"])
    again.begin(trials[0], DISTRIBUTIONS)
    trials[0].state, trials[0].results = FAILED, []
    again.end(trials[0])

    assert StudyRecord(folder, ["minimize"]).ended(0) == (COMPLETE, "")


def test_a_record_is_lent_what_another_has_of_the_same_trials(folder, record, tmp_path):
    trials = fill(record)
    other = StudyRecord(tmp_path / "longer", ["minimize"], [tmp_path / "nothing", folder])

    assert len(other) == 0
    assert other.outcomes(0, 1) is None
    assert other.lent(trials[0], 1) == [outcome(0, 1)]
    assert other.lent(trials[0], 4) == [outcome(0, 4)]
    assert other.lent(trials[1], 4) is None
    assert other.lent(trial(4), 1) is None
    assert record.lent(trials[0], 1) is None


def test_nothing_is_lent_of_a_trial_that_was_drawn_otherwise(folder, record, tmp_path):
    first, *_ = fill(record)
    other = StudyRecord(tmp_path / "longer", ["minimize"], [folder])
    name, value = next(iter(first.drawn.items()))

    assert other.lent(dataclasses.replace(first, drawn=first.drawn | {name: value}), 1)
    assert other.lent(dataclasses.replace(first, drawn=first.drawn | {name: "else"}), 1) is None


def test_the_outcomes_of_folds_stay_together(folder, record):
    record.begin(trial(0), DISTRIBUTIONS)
    folds = [outcome(0, 2, part) for part in range(3)]
    record.reach(0, 2, folds, 0.5)

    assert StudyRecord(folder, ["minimize"]).outcomes(0, 2) == folds


def test_what_optuna_reads_agrees_with_what_was_entered(folder, record):
    trials = fill(record)

    with opened_by_optuna(record.path) as study:
        found, best = study.get_trials(), study.best_trial

    assert [each.number for each in found] == [0, 1, 2, 3]
    assert [each.state.name for each in found] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [each.params for each in found] == [each.drawn for each in trials]
    assert [each.distributions for each in found] == [DISTRIBUTIONS] * 4
    assert [each.user_attrs["values"] for each in found] == [each.values for each in trials]
    assert (best.number, best.value) == (0, 1 / 3)
    assert found[0].intermediate_values == {1: 0.5, 4: 0.25}
    assert all(each.datetime_start for each in found)
    assert [each.datetime_complete is None for each in found] == [False, False, False, True]


def test_what_optuna_reads_has_every_objective(tmp_path):
    record = StudyRecord(tmp_path, ["minimize", "maximize"])
    both = trial(0)
    record.begin(both, DISTRIBUTIONS)
    both.state, both.results = COMPLETE, [0.5, 7.0]
    record.end(both)

    with opened_by_optuna(record.path) as study:
        assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
        assert study.trials[0].values == [0.5, 7.0]


@pytest.mark.parametrize(
    "other", [trial(0, rate=0.02), Trial(0, {}, {})], ids=["other value", "other ranges"]
)
def test_a_trial_that_this_study_would_not_draw_is_refused(folder, record, other):
    record.begin(trial(0), DISTRIBUTIONS)

    with pytest.raises(EnvironmentProblem) as refusal:
        StudyRecord(folder, ["minimize"]).begin(other, {})

    assert str(refusal.value) == (
        f"{record.path} has another trial 0 than this study draws; move its folder away to start "
        "anew"
    )


def test_a_trial_that_somebody_added_by_hand_is_refused(folder, record):
    """As `study.optimize` of Optuna does, beside the driver."""
    with opened_by_optuna(record.path) as study:
        study.add_trial(optuna.trial.create_trial(value=0.0))

    with pytest.raises(EnvironmentProblem, match="has another trial 0 than this study draws"):
        StudyRecord(folder, ["minimize"]).begin(trial(0), DISTRIBUTIONS)


def test_a_trial_that_somebody_adds_meanwhile_is_told_from_ours(folder, record):
    with opened_by_optuna(record.path) as study:
        study.add_trial(optuna.trial.create_trial(value=0.0))

    with pytest.raises(EnvironmentProblem, match="somebody else has added a trial 0 to"):
        record.begin(trial(0), DISTRIBUTIONS)


def test_a_second_driver_is_refused_while_the_first_is_alive(folder, somebody):
    drive(folder, somebody.pid)

    with pytest.raises(EnvironmentProblem) as refusal:
        StudyRecord(folder, ["minimize"])

    assert str(refusal.value) == (
        f"process {somebody.pid} runs this study already; wait for it, or end it"
    )
    somebody.kill()
    somebody.wait()
    StudyRecord(folder, ["minimize"])


def test_a_driver_that_was_refused_leaves_the_study_to_the_first(folder, somebody):
    drive(folder, somebody.pid)
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match=f"process {somebody.pid} runs this study"):
            StudyRecord(folder, ["minimize"])


def test_a_driver_that_is_dead_is_not_waited_for(folder):
    drive(folder, ended_process())

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_driver_that_was_killed_and_that_nobody_reaped_is_dead(folder, somebody):
    """In a container whose first process waits for nobody it stays a zombie for good."""
    drive(folder, somebody.pid)
    somebody.kill()
    state = Path(f"/proc/{somebody.pid}/stat")
    if not state.exists():
        pytest.skip("needs /proc")
    while state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        pass

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_number_that_another_process_has_now_is_not_the_driver(folder, somebody):
    drive(folder, somebody.pid, started=0.0)

    assert len(StudyRecord(folder, ["minimize"])) == 0


def test_a_driver_on_another_machine_is_not_taken_for_a_process_of_this_one(folder, somebody):
    drive(folder, somebody.pid, host="elsewhere")

    assert len(StudyRecord(folder, ["minimize"])) == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda record, ours: record.reach(ours.number, 2, [outcome(0, 2)], 0.5),
        lambda record, ours: record.end(ours),
    ],
    ids=["reach", "end"],
)
def test_a_trial_that_a_driver_elsewhere_has_ended_meanwhile_is_one_message(record, write):
    """Two machines that share a folder do not see each other's processes."""
    ours = trial(0)
    record.begin(ours, DISTRIBUTIONS)
    with opened_by_optuna(record.path) as study:
        study.tell(0, 0.5)
    ours.state, ours.results = COMPLETE, [0.5]

    with pytest.raises(EnvironmentProblem) as problem:
        write(record, ours)

    assert str(problem.value) == (
        f"somebody else runs the study {record.path} too, perhaps on another machine; end one of "
        "the two, and run again"
    )


def test_a_study_that_was_released_has_no_driver(folder, somebody, record):
    drive(folder, somebody.pid)
    record.release()

    assert len(StudyRecord(folder, ["minimize"])) == 0


def fork_driver(folder, answers, start):
    """A process that opens the study at a certain time, writes what came of it, and stays."""
    pid = os.fork()
    if pid:
        return pid
    try:
        while time.monotonic() < start:
            pass
        StudyRecord(folder, ["minimize"])
        os.write(answers, b"drives\n")
    except EnvironmentProblem as problem:
        os.write(answers, f"{problem}\n".encode())
    finally:
        signal.pause()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_of_two_drivers_that_start_at_once_one_gets_the_study(empty, tmp_path):
    """Again and again, to meet in the moment between looking and entering."""
    said = set()
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(empty, folder)
        reading, writing = os.pipe()
        start = time.monotonic() + 0.1

        drivers = [fork_driver(folder, writing, start) for _ in range(2)]

        with os.fdopen(reading) as answers:
            pair = sorted(re.sub(r"\d+", "N", answers.readline().strip()) for _ in drivers)
        said.add(", ".join(pair))
        for driver in drivers:
            os.kill(driver, signal.SIGKILL)
            os.waitpid(driver, 0)
        os.close(writing)
    assert said == {"drives, process N runs this study already; wait for it, or end it"}


@pytest.fixture
def locked(monkeypatch):
    """Hold a database as a program does that writes to it and does not come to an end."""
    monkeypatch.setattr("latentlab.search.record.SECONDS_TO_WAIT", 0.05)
    holders = []

    def lock(path):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        holders.append(holder)
        return holder

    yield lock
    for holder in holders:
        holder.close()


def test_a_database_that_somebody_holds_is_a_problem_of_the_environment(folder, locked):
    holder = locked(folder / "study.db")

    with pytest.raises(EnvironmentProblem) as problem:
        StudyRecord(folder, ["minimize"])

    assert str(problem.value) == (
        f"the study {folder / 'study.db'} cannot be used: database is locked; free the disk, or "
        "close what holds the file, and run again: nothing that it has is lost"
    )
    holder.rollback()
    assert len(StudyRecord(folder, ["minimize"])) == 0


WRITES = {
    "reach": lambda record: record.reach(3, 4, [outcome(3, 4)], 0.25),
    "end": lambda record: record.end(Trial(3, {}, {}, FAILED, "it diverged")),
    "release": lambda record: record.release(),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_database_that_somebody_holds_later_loses_nothing_that_it_has(folder, locked, write):
    record = StudyRecord(folder, ["minimize"])
    fill(record)
    holder = locked(record.path)

    with pytest.raises(EnvironmentProblem, match="database is locked; free the disk, or close"):
        WRITES[write](record)

    holder.rollback()
    again = StudyRecord(folder, ["minimize"])
    assert len(again) == 4
    assert again.ended(0) == (COMPLETE, "")
    assert again.outcomes(3, 1) == [outcome(3, 1)]
    assert again.outcomes(3, 4) is None
    assert again.ended(3) is None


def test_a_trial_cannot_begin_in_a_database_that_somebody_holds(folder, locked, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna's, between its attempts
    record = StudyRecord(folder, ["minimize"])
    holder = locked(record.path)

    with pytest.raises(EnvironmentProblem, match="database is locked"):
        record.begin(trial(0), DISTRIBUTIONS)

    holder.rollback()
    assert len(StudyRecord(folder, ["minimize"])) == 0


def enter_trials(record, entered):
    """Enter one trial after the other until it fails; `entered` has those that went through."""
    while True:
        number = len(entered)
        record.begin(Trial(number, {}, {}), {})
        record.reach(number, 1, [outcome(number, 99)], 0.5)
        entered.append(number)


def test_a_full_disk_is_a_problem_of_the_environment_and_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna's, between its attempts
    pages = (folder / "study.db").stat().st_size // 4096 + 9

    def no_more_pages(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", no_more_pages)
    entered = []
    try:
        with pytest.raises(EnvironmentProblem, match="database or disk is full; free the disk"):
            enter_trials(StudyRecord(folder, ["minimize"]), entered)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", no_more_pages)

    assert entered
    again = StudyRecord(folder, ["minimize"])
    assert len(entered) <= len(again) <= len(entered) + 1
    assert all(again.outcomes(number, 1) == [outcome(number, 99)] for number in entered)
    number = len(again)
    again.begin(Trial(number, {}, {}), {})
    assert len(StudyRecord(folder, ["minimize"])) == number + 1


@contextmanager
def no_file_longer_than(size):
    """As a quota does it; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kibibytes", [0, 40, 180])
def test_a_file_that_may_not_grow_is_a_problem_of_the_environment_and_loses_nothing(
    tmp_path, monkeypatch, kibibytes
):
    """From the beginning, while the tables are laid out, and while trials are entered."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna's, between its attempts
    entered = []

    with (
        pytest.raises(EnvironmentProblem, match=r"cannot be used: .*; free the disk, or close"),
        no_file_longer_than(kibibytes * 1024),
    ):
        enter_trials(StudyRecord(tmp_path, ["minimize"]), entered)

    assert bool(entered) == (kibibytes == 180)
    again = StudyRecord(tmp_path, ["minimize"])
    assert len(entered) <= len(again) <= len(entered) + 1
    assert all(again.outcomes(number, 1) == [outcome(number, 99)] for number in entered)


def test_a_study_that_was_killed_while_its_tables_were_laid_out_can_be_opened(tmp_path):
    """A copy of its folder from before each commit is what a kill would have left."""
    folder = tmp_path / "study"
    copies = []

    def copy(*_):
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(folder, copies[-1])

    def copy_between(connection, cursor, statement, *_):
        if statement.strip().startswith("CREATE TABLE studies"):  # its index is made next
            copy()

    events = {"commit": copy, "after_cursor_execute": copy_between}
    for name, listener in events.items():
        sqlalchemy.event.listen(sqlalchemy.Engine, name, listener)
    StudyRecord(folder, ["minimize"])
    for name, listener in events.items():
        sqlalchemy.event.remove(sqlalchemy.Engine, name, listener)

    assert len(copies) > 5
    for left in copies:  # in the order of the kills
        record = StudyRecord(left, ["minimize"])
        record.begin(trial(0), DISTRIBUTIONS)
        assert len(StudyRecord(left, ["minimize"])) == 1


def test_a_file_that_is_no_database_is_a_problem_of_the_environment(tmp_path):
    (tmp_path / "study.db").write_text("no database" * 1000)

    with pytest.raises(EnvironmentProblem, match="file is not a database"):
        StudyRecord(tmp_path, ["minimize"])


def test_a_folder_that_cannot_be_made_is_a_problem_of_the_environment(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises((EnvironmentProblem, OSError)):
        StudyRecord(tmp_path / "file" / "study", ["minimize"])


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%41b", "a{b}c", "a+b", "ä", "a'b"])
def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "study"

    record = StudyRecord(folder, ["minimize"])
    record.begin(trial(0), DISTRIBUTIONS)

    assert (folder / "study.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(StudyRecord(folder, ["minimize"])) == 1
