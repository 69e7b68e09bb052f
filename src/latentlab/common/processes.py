"""Executors that run functions in worker processes, and facts about processes of this machine."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

import psutil

from latentlab.common.errors import EnvironmentProblem

PRELOADED = ["latentlab.training.jobs"]
"""Modules that the fork server imports once for all workers; the first imports torch."""
START_METHOD = "spawn"
"""How background processes are started; a fork of a multi-threaded process may hang."""
MAX_ATTEMPTS = 3
"""How often a function is started if its process is killed each time."""
SECONDS_TO_BE_ENDED = 30.0
"""How long a worker rank waits for `torchrun` to end it after the main rank has failed."""
CLOCK_TOLERANCE_SECONDS = 2.0
"""How far the start time of a process may appear to move when the system clock is adjusted."""


class Killed(EnvironmentProblem):
    """A function whose process was killed in every attempt."""


class InlineExecutor(Executor):
    """An executor that calls functions in this process, one at a time, as a GPU requires."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` now and return a finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalExecutor(Executor):
    """An executor of local processes that repeats functions whose process is killed.

    Each of its threads owns one process, so that a kill affects a single function; a plain
    `ProcessPoolExecutor` fails all pending ones. Raises Killed after MAX_ATTEMPTS attempts.
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._local = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._terminated = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` as soon as a process is free."""
        return self._threads.submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the running functions, then end the processes."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait)

    def terminate(self) -> None:
        """End all worker processes."""
        self._terminated.set()
        for process in multiprocessing.active_children():  # the MLflow recorder ignores SIGTERM
            process.terminate()

    def _call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        for _ in range(MAX_ATTEMPTS):
            if self._terminated.is_set():
                break
            try:
                future = self._pool().submit(fn, *args, **kwargs)
                if self._terminated.is_set():  # while this process was started
                    self.terminate()
                return future.result()
            except BrokenProcessPool:
                self._local.pool = None
        raise Killed(
            f"the worker process was killed {MAX_ATTEMPTS} times. The machine may be out of "
            "memory; free memory, or run fewer processes."
        )

    def _pool(self) -> ProcessPoolExecutor:
        """Return the pool of one process that this thread owns."""
        pool: ProcessPoolExecutor | None = getattr(self._local, "pool", None)
        if pool is None:
            pool = ProcessPoolExecutor(1, worker_context(), _end_with_parent)
            self._local.pool = pool
            self._pools.append(pool)
        return pool


@contextmanager
def processes(workers: int) -> Iterator[LocalExecutor]:
    """Yield a LocalExecutor; an exception in the block ends its processes at once."""
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
    """Yield an executor of one process, which imports only what its functions need."""
    context = multiprocessing.get_context(START_METHOD)
    with ProcessPoolExecutor(1, context, _end_with_parent) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def worker_context() -> BaseContext:
    """Return the start method of workers: fork from a server, or spawn where that is unavailable.

    The server imports torch once, and never computes: a fork of a process with running OpenMP
    threads can hang.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_fork_server() -> None:
    """Start the fork server, so that it imports torch while this process does the same."""
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()


def this_process() -> dict[str, Any]:
    """Return host, process id and start time, which together identify this process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def is_alive(pid: int, started: float | None = None) -> bool:
    """Return whether a process of this machine is running; a zombie is not.

    With `started`, a start time in seconds since 1970, a later process with the same id does not
    count.
    """
    try:
        process = psutil.Process(pid)
        moved = 0.0 if started is None else abs(process.create_time() - started)
        return moved <= CLOCK_TOLERANCE_SECONDS and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # a process of another user
        return True


def _end_with_parent() -> None:
    """Make a worker end when its parent ends, and let only the parent react to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers call this"
    parent.join()
    os._exit(1)


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Return the rank of this process among those that `torchrun` started; 0 if it is alone."""
    return int(os.environ.get("RANK", "0"))


def wait_if_worker_rank() -> None:
    """After an error, let `torchrun` end this process if it is a worker rank.

    All ranks have the same error, and the main rank prints it.
    """
    if rank() > 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(SECONDS_TO_BE_ENDED)


def world_size() -> int:
    """Return the number of processes that `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the rank of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
