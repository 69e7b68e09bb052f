"""Work side by side: in processes of this machine, with torch imported once for all of them."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

import psutil

from latentlab.common.errors import EnvironmentProblem

PRELOADED = ["latentlab.training.jobs"]
ATTEMPTS = 3
"""How often work is begun whose process is killed."""
CLOCKS_DIFFER = 2.0
"""Seconds by which the start of a process may seem to move when the clock is set right."""


class Killed(EnvironmentProblem):
    """Work whose process was killed each time it was begun."""


class InlineExecutor(Executor):
    """Does work in this process, one after the other: a GPU has room for one."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Do it now."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalExecutor(Executor):
    """Processes of this machine; work whose process is killed is done again in another one.

    Each of its threads has a process of its own, so that a kill costs nothing but the work of the
    one that was killed. Work that is killed ATTEMPTS times raises Killed.
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._own = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Do it when a process is free."""
        return self._threads.submit(self._do, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let what runs come to its end."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait)

    def terminate(self) -> None:
        """End what runs."""
        self._ended = True
        for process in multiprocessing.active_children():  # the recorder ignores what ends these
            process.terminate()

    def _do(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        for _ in range(ATTEMPTS):
            if self._ended:
                break
            try:
                future = self._pool().submit(fn, *args, **kwargs)
                if self._ended:  # in the meantime, so that nobody ended this process
                    self.terminate()
                return future.result()
            except BrokenProcessPool:
                self._own.pool = None
        raise Killed(f"its process was killed {ATTEMPTS} times, perhaps for want of memory")

    def _pool(self) -> ProcessPoolExecutor:
        """The process of this thread."""
        pool = getattr(self._own, "pool", None)
        if pool is None:
            pool = ProcessPoolExecutor(1, worker_context(), _watch_parent)
            self._own.pool = pool
            self._pools.append(pool)
        return pool


@contextmanager
def processes(workers: int) -> Iterator[LocalExecutor]:
    """A LocalExecutor; what leaves the block by an exception ends its processes."""
    executor = LocalExecutor(workers)
    try:
        yield executor
    except BaseException:
        executor.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def background_process() -> Iterator[ProcessPoolExecutor]:
    """One process beside this one, for work of another kind: it imports what that needs alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _watch_parent) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def worker_context() -> BaseContext:
    """How to start processes: forked from a server that has computed nothing, else spawned.

    A fork of a process that has computed can hang in its threads.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that it imports torch while this process does."""
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()


def this_process() -> dict[str, Any]:
    """What tells this process from all others, later ones with the same number among them."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def is_alive(pid: int, started: float | None = None) -> bool:
    """Whether a process of this machine is there, and not a zombie that nobody waited for.

    With `started`, in seconds since 1970, it must also be the one that started then.
    """
    try:
        process = psutil.Process(pid)
        if started is not None and abs(process.create_time() - started) > CLOCKS_DIFFER:
            return False
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # of somebody else
        return True


def _watch_parent() -> None:
    """Have this process end with the one that started it, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Return the rank of this process among those that `torchrun` started; 0 if it is alone."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return the number of processes that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the rank of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
