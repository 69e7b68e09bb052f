"""Processes for work side by side, with torch imported once for all of them."""

import multiprocessing
from multiprocessing.context import BaseContext

PRELOADED = ["latentlab.training.jobs"]


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
