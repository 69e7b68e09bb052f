"""Interleaved timing: the methods take turns, each in its own process.

Changes in the speed of the machine then affect all methods alike.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""

Method = tuple[Callable[..., Epoch], tuple[Any, ...]]
"""A function that returns the epoch of a method, and its arguments."""


def measure_interleaved(methods: dict[str, Method], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each method in each round, after one warm-up round."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, (make, arguments) in methods.items():
        pipes[name], other_end = context.Pipe()
        process = context.Process(target=_run_method, args=(other_end, make, arguments))
        process.start()
        processes.append(process)
        other_end.close()
        pipes[name].recv()  # ready: no method sets up while another one is measured
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("run")
            elapsed = pipe.recv()
            print(f"round {number or 'to warm up'}: {name} {elapsed:.2f} s", flush=True)
            if number:
                seconds[name].append(elapsed)
    for pipe in pipes.values():
        pipe.close()
    for process in processes:
        process.join()
    return seconds


def _run_method(pipe: Connection, make: Callable[..., Epoch], arguments: tuple[Any, ...]) -> None:
    """Set up a method and run one epoch per message, until the pipe is closed."""
    epoch = make(*arguments)
    pipe.send("ready")
    try:
        while pipe.recv():
            pipe.send(epoch())
    except EOFError:
        return
