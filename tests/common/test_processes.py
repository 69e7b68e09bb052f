"""Work in processes of its own, some of which are killed.

Workers import the functions of this file by its name, for which they need the root of the checkout.
"""

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import as_completed
from contextlib import suppress

import psutil
import pytest

from latentlab.common.errors import TrainingDiverged
from latentlab.common.processes import (
    ATTEMPTS,
    InlineExecutor,
    Killed,
    LocalExecutor,
    is_alive,
    processes,
    this_process,
)

LONG = 600
"""Seconds that no test lasts."""


@pytest.fixture(autouse=True)
def importable(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository)


@pytest.fixture
def local():
    with processes(2) as executor:
        yield executor


def whoami(_=None):
    return os.getpid()


def wait_for(path):
    """Until a file is there; its text."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    return path.read_text()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker):
    """Be killed in the middle of the work, unless that has happened before."""
    if not marker.exists():
        marker.touch()
        die()
    return os.getpid()


def begin(marker, seconds=0.0):
    """Note which process does it, and how often it was begun; then take some time."""
    with marker.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def begin_and_wait(marker, other):
    """Note which process does it, and end when somebody else says so."""
    begin(marker)
    wait_for(other)
    return os.getpid()


def begin_and_die(marker):
    begin(marker)
    die()


def diverge():
    raise TrainingDiverged("the loss is not finite")


def begun(marker):
    return [int(line) for line in marker.read_text().splitlines()]


def children():
    return {process.pid for process in multiprocessing.active_children()}


def ended(pid):
    """Whether a process ends; one that nobody has asked for its exit code yet has ended."""
    deadline = time.monotonic() + 60
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def test_inline_work_is_done_in_this_process_one_after_the_other():
    done = []
    executor = InlineExecutor()
    futures = [executor.submit(done.append, number) for number in range(3)]

    assert done == [0, 1, 2]
    assert all(future.done() for future in futures)
    assert executor.submit(whoami).result() == os.getpid()
    assert executor.submit(dict, a=1).result() == {"a": 1}
    assert list(executor.map(operator.neg, [1, 2])) == [-1, -2]
    assert set(as_completed(futures)) == set(futures)


def test_an_exception_of_inline_work_is_in_its_future_and_the_next_work_is_done():
    executor = InlineExecutor()
    failed = executor.submit(operator.truediv, 1, 0)

    with pytest.raises(ZeroDivisionError):
        failed.result()
    assert executor.submit(operator.truediv, 1, 2).result() == 0.5


def test_an_interrupt_of_inline_work_is_not_kept_for_later():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupt)


def test_local_work_is_done_in_other_processes_and_comes_in_the_order_asked_for(local):
    assert list(local.map(pow, range(10), [2] * 10)) == [number**2 for number in range(10)]
    assert local.submit(dict, a=1).result() == {"a": 1}
    assert os.getpid() not in set(local.map(whoami, range(4)))


def test_local_work_runs_side_by_side(local, tmp_path):
    """Each of the two ends only when the other has begun."""
    first, second = tmp_path / "first", tmp_path / "second"
    futures = [
        local.submit(begin_and_wait, first, second),
        local.submit(begin_and_wait, second, first),
    ]

    assert futures[0].result() != futures[1].result()


def test_no_more_processes_are_started_than_asked_for():
    with processes(1) as executor:
        assert len(set(executor.map(whoami, range(4)))) == 1


@pytest.mark.parametrize(
    ("work", "arguments", "error", "told"),
    [
        (operator.truediv, (1, 0), ZeroDivisionError, "division by zero"),
        (diverge, (), TrainingDiverged, "the loss is not finite"),
        (os.stat, ("/nowhere",), FileNotFoundError, "/nowhere"),
    ],
)
def test_exceptions_of_the_work_itself_pass_and_the_process_goes_on(
    local, work, arguments, error, told
):
    with pytest.raises(error, match=told):
        local.submit(work, *arguments).result()
    assert local.submit(pow, 2, 3).result() == 8


def test_work_that_fails_is_not_done_again(local, tmp_path):
    marker = tmp_path / "marker"
    local.submit(begin, marker).result()
    with pytest.raises(TypeError):
        local.submit(begin, marker, "no number").result()

    assert len(begun(marker)) == 2


def test_work_whose_process_is_killed_is_done_again_in_another(local, tmp_path):
    marker = tmp_path / "marker"

    assert local.submit(die_once, marker).result() != os.getpid()
    assert marker.exists()
    assert local.submit(pow, 2, 3).result() == 8


def test_a_kill_from_outside_disturbs_nobody_else(local, tmp_path):
    """The one that is killed waits for what is written after the kill, and so does its second."""
    killed, other, gate = (tmp_path / name for name in ("killed", "other", "gate"))
    futures = [
        local.submit(begin_and_wait, killed, gate),
        local.submit(begin_and_wait, other, gate),
    ]
    victim, bystander = int(wait_for(killed)), int(wait_for(other))
    os.kill(victim, signal.SIGKILL)
    while len(begun(killed)) < 2:
        time.sleep(0.01)
    gate.write_text("open")

    assert [future.result() for future in futures] == [begun(killed)[1], bystander]
    assert begun(killed)[1] not in (victim, bystander)
    assert begun(other) == [bystander]


def test_many_kills_lose_no_work_and_no_order(local, tmp_path):
    markers = [tmp_path / str(number) for number in range(6)]
    futures = [local.submit(die_once, marker) for marker in markers[:3]]
    others = [local.submit(pow, number, 2) for number in range(20)]
    futures += [local.submit(die_once, marker) for marker in markers[3:]]

    assert [future.result() for future in others] == [number**2 for number in range(20)]
    assert os.getpid() not in {future.result() for future in futures}


def test_work_that_is_always_killed_is_begun_so_often_and_no_more(local, tmp_path):
    marker = tmp_path / "marker"
    failed = local.submit(begin_and_die, marker)
    other = local.submit(pow, 2, 3)

    with pytest.raises(Killed, match=f"its process was killed {ATTEMPTS} times"):
        failed.result()
    assert len(set(begun(marker))) == ATTEMPTS
    assert other.result() == 8
    assert list(local.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]


def test_an_idle_process_that_is_killed_costs_no_work(local):
    idle = local.submit(whoami).result()
    os.kill(idle, signal.SIGKILL)
    assert ended(idle)

    assert idle not in set(local.map(whoami, range(6)))


def test_the_end_of_the_block_waits_for_what_runs_and_leaves_no_process(tmp_path):
    before = children()
    with processes(2) as executor:
        futures = [executor.submit(begin, tmp_path / str(number), 0.1) for number in range(2)]
        for number in range(2):
            wait_for(tmp_path / str(number))

    assert all(future.done() for future in futures)
    assert children() <= before
    assert all(ended(future.result()) for future in futures)


def test_an_exception_ends_what_runs_and_what_waits(tmp_path):
    """It would last ten minutes otherwise."""
    before = children()
    running = [tmp_path / "0", tmp_path / "1"]
    with suppress(KeyboardInterrupt), processes(2) as executor:
        futures = [executor.submit(begin, marker, LONG) for marker in running]
        waiting = [executor.submit(begin, tmp_path / f"late {n}", LONG) for n in range(4)]
        pids = [int(wait_for(marker)) for marker in running]
        raise KeyboardInterrupt

    assert children() <= before
    assert all(ended(pid) for pid in pids)
    assert all(isinstance(future.exception(), Killed) for future in futures)
    assert all(future.cancelled() for future in waiting)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_exception_before_the_first_process_stands_ends_its_work_too(tmp_path):
    """Ctrl-C at the start of a study: nothing is begun after it."""
    before = children()
    with suppress(KeyboardInterrupt), processes(1) as executor:
        future = executor.submit(begin, tmp_path / "marker", 3)
        raise KeyboardInterrupt

    assert future.cancelled() or isinstance(future.exception(), Killed)
    assert children() <= before


def test_after_the_end_nothing_that_waited_is_begun(tmp_path):
    """The thread of the process that was ended looks for the next work."""
    executor = LocalExecutor(1)
    try:
        running = executor.submit(begin, tmp_path / "running", LONG)
        waiting = executor.submit(begin, tmp_path / "waiting", 3)
        wait_for(tmp_path / "running")
        executor.terminate()
        assert isinstance(running.exception(), Killed)
        assert isinstance(waiting.exception(), Killed)
    finally:
        executor.shutdown(cancel_futures=True)

    assert not (tmp_path / "waiting").exists()


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Also where it had no chance to end them: one is idle, one in the middle of its work."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, time
from latentlab.common.processes import PRELOADED, processes

if __name__ == "__main__":
    PRELOADED.clear()  # for speed
    with processes(2) as executor:
        busy = executor.submit(time.sleep, {LONG})
        print(executor.submit(os.getpid).result(), flush=True)
        busy.result()
"""
    )
    parent = subprocess.Popen(
        [sys.executable, "-W", "error", str(script)], stdout=subprocess.PIPE, text=True
    )
    idle = int(parent.stdout.readline())
    family = psutil.Process(parent.pid)
    servers = {child.pid for child in family.children()}
    while len(everybody := {child.pid for child in family.children(recursive=True)} - servers) < 2:
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert idle in everybody
    assert all(ended(pid) for pid in everybody | servers)


def test_a_process_is_alive_until_it_has_ended():
    assert is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid)
    child.communicate(b"\n")
    assert not is_alive(child.pid)


def test_a_process_is_not_taken_for_a_later_one_with_the_same_number():
    me = this_process()

    assert is_alive(me["pid"], me["started"])
    assert not is_alive(me["pid"], me["started"] - 60)


def test_a_process_of_somebody_else_is_alive(monkeypatch):
    def refuse(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "status", refuse)

    assert is_alive(1)
