"""Functions in worker processes, some of which are killed.

Workers import this module by name, which requires the root of the repository on the import path.
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
    MAX_ATTEMPTS,
    InlineExecutor,
    Killed,
    LocalExecutor,
    available_cores,
    is_alive,
    local_rank,
    local_world_size,
    processes,
    rank,
    this_process,
    world_size,
)

LONG = 600
"""Seconds; longer than any test."""


@pytest.fixture(autouse=True)
def importable(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository)


@pytest.fixture
def local():
    with processes(2) as executor:
        yield executor


def process_id(_=None):
    return os.getpid()


def wait_for(path):
    """Wait until a file has content, and return it."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    return path.read_text()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker):
    """Kill this process in the first call, and return its id in later ones."""
    if not marker.exists():
        marker.touch()
        die()
    return os.getpid()


def start(marker, seconds=0.0):
    """Append the id of this process to a file, then sleep."""
    with marker.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def start_and_wait(marker, other):
    """Append the id of this process to a file, then wait until the `other` file has content."""
    start(marker)
    wait_for(other)
    return os.getpid()


def start_and_die(marker):
    start(marker)
    die()


def diverge():
    raise TrainingDiverged("the loss is not finite")


def starts(marker):
    """Return the ids of the processes that appended theirs to a file."""
    return [int(line) for line in marker.read_text().splitlines()]


def children():
    return {process.pid for process in multiprocessing.active_children()}


def ends(pid):
    """Return whether a process ends within a minute; a zombie has ended."""
    deadline = time.monotonic() + 60
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def test_the_inline_executor_calls_functions_in_this_process_in_order():
    done = []
    executor = InlineExecutor()
    futures = [executor.submit(done.append, number) for number in range(3)]

    assert done == [0, 1, 2]
    assert all(future.done() for future in futures)
    assert executor.submit(process_id).result() == os.getpid()
    assert executor.submit(dict, a=1).result() == {"a": 1}
    assert list(executor.map(operator.neg, [1, 2])) == [-1, -2]
    assert set(as_completed(futures)) == set(futures)


def test_the_inline_executor_stores_an_exception_and_continues():
    executor = InlineExecutor()
    failed = executor.submit(operator.truediv, 1, 0)

    with pytest.raises(ZeroDivisionError):
        failed.result()
    assert executor.submit(operator.truediv, 1, 2).result() == 0.5


def test_the_inline_executor_does_not_store_an_interrupt():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupt)


def test_the_local_executor_calls_functions_in_other_processes(local):
    assert list(local.map(pow, range(10), [2] * 10)) == [number**2 for number in range(10)]
    assert local.submit(dict, a=1).result() == {"a": 1}
    assert os.getpid() not in set(local.map(process_id, range(4)))


def test_the_local_executor_runs_functions_in_parallel(local, tmp_path):
    """Each of two functions waits until the other has started."""
    first, second = tmp_path / "first", tmp_path / "second"
    futures = [
        local.submit(start_and_wait, first, second),
        local.submit(start_and_wait, second, first),
    ]

    assert futures[0].result() != futures[1].result()


def test_only_the_requested_number_of_processes_is_started():
    with processes(1) as executor:
        assert len(set(executor.map(process_id, range(4)))) == 1


@pytest.mark.parametrize(
    ("function", "arguments", "error", "text"),
    [
        (operator.truediv, (1, 0), ZeroDivisionError, "division by zero"),
        (diverge, (), TrainingDiverged, "the loss is not finite"),
        (os.stat, ("/nowhere",), FileNotFoundError, "/nowhere"),
    ],
)
def test_an_exception_of_a_function_is_raised_and_its_process_stays_usable(
    local, function, arguments, error, text
):
    with pytest.raises(error, match=text):
        local.submit(function, *arguments).result()
    assert local.submit(pow, 2, 3).result() == 8


def test_a_function_that_raises_is_not_repeated(local, tmp_path):
    marker = tmp_path / "marker"
    local.submit(start, marker).result()
    with pytest.raises(TypeError):
        local.submit(start, marker, "no number").result()

    assert len(starts(marker)) == 2


def test_a_function_whose_process_is_killed_is_repeated_in_another(local, tmp_path):
    marker = tmp_path / "marker"

    assert local.submit(die_once, marker).result() != os.getpid()
    assert marker.exists()
    assert local.submit(pow, 2, 3).result() == 8


def test_a_kill_does_not_affect_other_processes(local, tmp_path):
    killed, other, gate = (tmp_path / name for name in ("killed", "other", "gate"))
    futures = [
        local.submit(start_and_wait, killed, gate),
        local.submit(start_and_wait, other, gate),
    ]
    victim, bystander = int(wait_for(killed)), int(wait_for(other))
    os.kill(victim, signal.SIGKILL)
    while len(starts(killed)) < 2:
        time.sleep(0.01)
    gate.write_text("open")

    assert [future.result() for future in futures] == [starts(killed)[1], bystander]
    assert starts(killed)[1] not in (victim, bystander)
    assert starts(other) == [bystander]


def test_many_kills_lose_no_result(local, tmp_path):
    markers = [tmp_path / str(number) for number in range(6)]
    futures = [local.submit(die_once, marker) for marker in markers[:3]]
    others = [local.submit(pow, number, 2) for number in range(20)]
    futures += [local.submit(die_once, marker) for marker in markers[3:]]

    assert [future.result() for future in others] == [number**2 for number in range(20)]
    assert os.getpid() not in {future.result() for future in futures}


def test_a_function_whose_process_is_always_killed_fails_after_the_last_attempt(
    local, tmp_path, message
):
    marker = tmp_path / "marker"
    failed = local.submit(start_and_die, marker)
    other = local.submit(pow, 2, 3)

    with pytest.raises(Killed) as caught:
        failed.result()
    message("common/processes: killed in every attempt", caught.value)
    assert len(set(starts(marker))) == MAX_ATTEMPTS
    assert other.result() == 8
    assert list(local.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]


def test_a_killed_idle_process_is_replaced(local):
    idle = local.submit(process_id).result()
    os.kill(idle, signal.SIGKILL)
    assert ends(idle)

    assert idle not in set(local.map(process_id, range(6)))


def test_the_end_of_the_block_waits_for_running_functions_and_ends_all_processes(tmp_path):
    before = children()
    with processes(2) as executor:
        futures = [executor.submit(start, tmp_path / str(number), 0.1) for number in range(2)]
        for number in range(2):
            wait_for(tmp_path / str(number))

    assert all(future.done() for future in futures)
    assert children() <= before
    assert all(ends(future.result()) for future in futures)


def test_an_exception_in_the_block_ends_running_and_cancels_waiting_functions(tmp_path):
    before = children()
    running = [tmp_path / "0", tmp_path / "1"]
    with suppress(KeyboardInterrupt), processes(2) as executor:
        futures = [executor.submit(start, marker, LONG) for marker in running]
        waiting = [executor.submit(start, tmp_path / f"late {n}", LONG) for n in range(4)]
        pids = [int(wait_for(marker)) for marker in running]
        raise KeyboardInterrupt

    assert children() <= before
    assert all(ends(pid) for pid in pids)
    assert all(isinstance(future.exception(), Killed) for future in futures)
    assert all(future.cancelled() for future in waiting)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_exception_while_the_first_process_starts_ends_its_function(tmp_path):
    before = children()
    with suppress(KeyboardInterrupt), processes(1) as executor:
        future = executor.submit(start, tmp_path / "marker", 3)
        raise KeyboardInterrupt

    assert future.cancelled() or isinstance(future.exception(), Killed)
    assert children() <= before


def test_no_waiting_function_is_started_after_termination(tmp_path):
    executor = LocalExecutor(1)
    try:
        running = executor.submit(start, tmp_path / "running", LONG)
        waiting = executor.submit(start, tmp_path / "waiting", 3)
        wait_for(tmp_path / "running")
        executor.terminate()
        assert isinstance(running.exception(), Killed)
        assert isinstance(waiting.exception(), Killed)
    finally:
        executor.shutdown(cancel_futures=True)

    assert not (tmp_path / "waiting").exists()


def test_processes_end_when_their_parent_is_killed(tmp_path):
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
    while len(workers := {child.pid for child in family.children(recursive=True)} - servers) < 2:
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert idle in workers
    assert all(ends(pid) for pid in workers | servers)


def test_a_process_is_alive_until_it_has_ends():
    assert is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid)
    child.communicate(b"\n")
    assert not is_alive(child.pid)


def test_a_later_process_with_the_same_id_is_not_alive():
    identity = this_process()

    assert is_alive(identity["pid"], identity["started"])
    assert not is_alive(identity["pid"], identity["started"] - 60)


def test_a_process_of_another_user_is_alive(monkeypatch):
    def deny(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "status", deny)

    assert is_alive(1)


def test_a_process_without_torchrun_is_alone(monkeypatch):
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)

    assert (rank(), world_size(), local_rank(), local_world_size()) == (0, 1, 0, 1)


def test_torchrun_sets_the_rank_and_the_number_of_processes(monkeypatch):
    values = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}
    for variable, value in values.items():
        monkeypatch.setenv(variable, str(value))

    assert [rank(), world_size(), local_rank(), local_world_size()] == [*values.values()]


def test_at_least_one_core_is_available():
    assert 1 <= available_cores() <= os.cpu_count()
