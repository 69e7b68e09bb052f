"""Sampling the values of a trial from a search space."""

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


def suggest_values(trial: optuna.trial.BaseTrial, space: Space) -> dict[str, Any]:
    """Return a value for every parameter of a space, by path in `params.yaml`.

    Ranges are sampled in their order. A range whose condition is false is omitted if it is an
    element of a list; otherwise the parameter gets the value `otherwise` of the range.
    """
    sampled: dict[str, Any] = {}
    for name, each in named_ranges(space):
        if each.applies(sampled):
            sampled[name] = _suggest(trial, name, each)
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if isinstance(entry, tuple):
            labels = [label(name, i) for i in range(len(entry))]
            values[name] = [sampled[each] for each in labels if each in sampled]
        elif not is_switch(name):
            values[name] = sampled.get(name, entry.otherwise)
    return values


def grid_params(space: Space, number: int, seed: int) -> dict[str, Any]:
    """Return Optuna's parameters of trial `number` of a grid search, in a random order.

    Starts at a random point and proceeds with a random stride that is coprime to the grid size, so
    every point is visited exactly once without a list of all points. (`GridSampler` of Optuna
    stores that list, and its order depends on which trials are running.)
    """
    size = grid_size(space)
    random = np.random.default_rng(seed)
    start = int(random.integers(size))
    strides = (int(stride) for stride in iter(lambda: random.integers(1, size + 1), None))
    stride = next(stride for stride in strides if math.gcd(stride, size) == 1)
    ranges = dict(named_ranges(space))
    return {
        name: json.dumps(value) if isinstance(ranges[name], Choices) else value
        for name, value in grid_point(space, (start + number * stride) % size).items()
    }


def _suggest(trial: optuna.trial.BaseTrial, name: str, each: Range) -> Any:
    match each:
        case IntegerRange(low=low, last=last, step=step, log=log):
            return trial.suggest_int(name, low, last, step=step, log=log)
        case FloatRange(low=low, last=last, step=step, log=log):
            return each.nearest(trial.suggest_float(name, low, last, step=step, log=log))
        case Choices(choices=choices):
            # Optuna supports scalars only, but a choice may be a list
            return json.loads(trial.suggest_categorical(name, [json.dumps(c) for c in choices]))
