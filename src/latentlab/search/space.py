"""Drawing the values of a trial from a space."""

import json
import math
from typing import Any

import numpy as np
import optuna

from latentlab.params.ranges import (
    Choices,
    FloatRange,
    IntegerRange,
    Range,
    Space,
    grid_point,
    grid_size,
    is_switch,
    label,
    named_ranges,
)


def draw(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """A value for every parameter of a space, by its path.

    Ranges are drawn in their order; one whose condition does not hold is left out of a list, and a
    single parameter is then what its range says by `otherwise`.
    """
    drawn: dict[str, Any] = {}
    for name, each in named_ranges(space):
        if each.applies(drawn):
            drawn[name] = _suggest(trial, name, each)
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if isinstance(entry, tuple):
            labels = [label(name, i) for i in range(len(entry))]
            values[name] = [drawn[each] for each in labels if each in drawn]
        elif not is_switch(name):
            values[name] = drawn.get(name, entry.otherwise)
    return values


def walk_grid(space: Space, number: int, seed: int) -> dict[str, Any]:
    """What a trial gets in a grid, as Optuna stores it.

    The walk goes from a random point in steps of a random length that shares no factor with the
    number of points: so it visits every point once, and needs no list of them.
    """
    size = grid_size(space)
    random = np.random.default_rng(seed)
    start = int(random.integers(size))
    steps = (int(step) for step in iter(lambda: random.integers(1, size + 1), None))
    step = next(step for step in steps if math.gcd(step, size) == 1)
    ranges = dict(named_ranges(space))
    return {
        name: json.dumps(value) if isinstance(ranges[name], Choices) else value
        for name, value in grid_point(space, (start + number * step) % size).items()
    }


def _suggest(trial: optuna.Trial, name: str, each: Range) -> Any:
    match each:
        case IntegerRange(low=low, last=last, step=step, log=log):
            return trial.suggest_int(name, low, last, step=step, log=log)
        case FloatRange(low=low, last=last, step=step, log=log):
            return each.nearest(trial.suggest_float(name, low, last, step=step, log=log))
        case Choices(choices=choices):
            # Optuna takes scalars only, and a choice may be a list
            return json.loads(trial.suggest_categorical(name, [json.dumps(c) for c in choices]))
