"""Contenders take turns, each in a process of its own, so that all see the same machine."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""

Contender = tuple[Callable[..., Epoch], tuple[Any, ...]]
"""What makes the epoch of a contender, and its arguments."""


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after one round to warm up."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, (make, arguments) in contenders.items():
        pipes[name], other_end = context.Pipe()
        process = context.Process(target=_compete, args=(other_end, make, arguments))
        process.start()
        processes.append(process)
        other_end.close()
        pipes[name].recv()  # ready: nobody prepares while another is measured
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("run")
            taken = pipe.recv()
            print(f"round {number or 'to warm up'}: {name} {taken:.2f} s", flush=True)
            if number:
                seconds[name].append(taken)
    for pipe in pipes.values():
        pipe.close()
    for process in processes:
        process.join()
    return seconds


def _compete(pipe: Connection, make: Callable[..., Epoch], arguments: tuple[Any, ...]) -> None:
    epoch = make(*arguments)
    pipe.send("ready")
    try:
        while pipe.recv():
            pipe.send(epoch())
    except EOFError:
        return
