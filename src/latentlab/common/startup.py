"""Start-up and shutdown optimizations that rely on details of Python, torch or the C library.

None of them changes a result. If one of them stops working, the pipeline is slower.

| function | effect | without it |
|---|---|---|
| `without_garbage_collection` | saves 0.9 s per stage during imports | slower start |
| `leave_compiler_out`, `optimizer_step` | save 2.1 s per process that trains | slower first step |
| `exit_now` | saves 1.8 s per stage and 1.5 s per recorder | slower exit |
| `keep_freed_memory` | 35 instead of 40 ms per step, 3.5 s per 740 steps | slower steps |
| `limit_thread_spinning` | 0.3 instead of 4.8 s per step of two trainings at once | slower steps |

Measured on two cores of an AMD EPYC with torch 2.15. The first three rows are medians of seven
processes. The others are medians of 60 and 15 alternating measurements with the autoencoder of the
digits and batches of 64 images, with one thread and with two per training, while other processes
used the same cores. The quartiles of the speedups are 1.04 to 1.21 and 11 to 21.

`raise_on_termination` saves no time. It is here because it also depends on such details: it makes
SIGTERM reliable, so that a killed stage closes its MLflow run.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer

SPIN_COUNT = "3000"
"""How often an idle OpenMP thread polls for work before it sleeps: for about ten microseconds."""

SECONDS_BETWEEN_SIGNALS = 10.0
"""How long after a termination signal the exception is raised again if the process still runs."""

# parameters of mallopt(3)
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception in the main thread, so that MLflow runs are closed."""


def raise_on_termination() -> None:
    """Raise Terminated on SIGTERM and SIGHUP, repeatedly until the process ends.

    Python discards an exception that is raised while a destructor runs, so a timer repeats it.
    """

    def handle(signal_number: int, frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_SIGNALS)
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGALRM, handle)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # `nohup` ignores it
        signal.signal(signal.SIGHUP, handle)


def limit_thread_spinning() -> None:
    """Let idle OpenMP threads sleep early; call this before torch is imported.

    Otherwise, idle threads occupy the cores that other processes need.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable the garbage collector: imports create millions of objects, but little garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def exit_at_end(status: Callable[[], int | str | None]) -> None:
    """Register `exit_now`; call this first, so that it runs after all other exit functions."""
    atexit.register(lambda: exit_now(status()))


def exit_now(status: int | str | None) -> None:
    """Flush the output and end the process without the teardown of modules."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def leave_compiler_out() -> None:
    """Keep optimizers from importing torch's compiler, which is not used.

    torch excludes the methods of `Optimizer` from compilation, and imports the compiler to mark
    them. This sets the same mark (torch/_compile.py).
    """
    import torch

    for method in vars(torch.optim.Optimizer).values():
        if (function := getattr(method, "__wrapped__", None)) is not None:
            function.__dict__.setdefault("__dynamo_disable", function)


def optimizer_step(optimizer: Optimizer) -> None:
    """Take one step of an optimizer without the wrapper that imports torch's compiler.

    Call this with gradients disabled.
    """
    inspect.unwrap(type(optimizer).step)(optimizer)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning large blocks to the system.

    Every training step frees and allocates the same blocks. Otherwise, it causes one page fault per
    page of them, about 800 in the measured case.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
