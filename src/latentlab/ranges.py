"""The ranges of a search space, as they are written in `params.yaml`.

A space maps names to ranges. A name is the path of a parameter, or any other word for a switch that
only the conditions of later ranges read. A list of ranges makes a list of values, one for each
range whose condition holds.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from latentlab.fields import Count, Flag, Integer, Positive, Real, Section


class _Range(Section):
    """What every range has: when it applies, and what its parameter is where it does not."""

    when: dict[str, Any] = Field({})
    otherwise: Any = None

    def applies(self, drawn: dict[str, Any]) -> bool:
        """Whether what was drawn before is all that `when` asks for; a list names several."""
        return all(name in drawn and drawn[name] in _several(v) for name, v in self.when.items())


class IntegerRange(_Range):
    """Integers from `low` to `high`, both included, `step` apart."""

    type: Literal["int"]
    low: Integer
    high: Integer
    step: Count = 1
    log: Flag = False

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return [self.low, self.high]

    @property
    def grid(self) -> list[Any]:
        """Every value."""
        return list(range(self.low, self.high + 1, self.step))

    @model_validator(mode="after")
    def _ordered(self) -> "IntegerRange":
        if self.low > self.high or (self.log and self.low < 1):
            raise ValueError("low must not exceed high, and must be at least 1 with log")
        if self.log and self.step > 1:
            raise ValueError("a step and log exclude each other")
        return self


class FloatRange(_Range):
    """Real numbers from `low` to `high`, `step` apart where there is one."""

    type: Literal["float"]
    low: Real
    high: Real
    step: Positive | None = None
    log: Flag = False

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked; one of them is no integer."""
        return [self.low, math.nextafter(self.low, self.high), self.high]

    @property
    def grid(self) -> list[Any] | None:
        """Every value; None without a step."""
        if self.step is None:
            return None
        count = int((self.high - self.low) / self.step + 1e-9)
        return [self.low + i * self.step for i in range(count + 1)]

    @model_validator(mode="after")
    def _ordered(self) -> "FloatRange":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("low must not exceed high, and must be above 0 with log")
        if self.log and self.step:
            raise ValueError("a step and log exclude each other")
        return self


class Choices(_Range):
    """One of a list of values, lists included."""

    type: Literal["categorical"]
    choices: Annotated[list[Any], Field(min_length=1)]

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return self.choices

    @property
    def grid(self) -> list[Any]:
        """Every value."""
        return self.choices


Range = Annotated[IntegerRange | FloatRange | Choices, Field(discriminator="type")]
Ranges = Annotated[tuple[Range, ...], Field(min_length=1)]
Space = dict[str, Range | Ranges]


def is_switch(name: str) -> bool:
    """Whether a name of a space stands for no parameter."""
    return "." not in name


def label(name: str, index: int) -> str:
    """The name of one range of a list."""
    return f"{name}[{index}]"


def named_ranges(space: Space) -> Iterator[tuple[str, Range]]:
    """Each range under the name by which conditions and tables know it; lists are numbered."""
    for name, entry in space.items():
        if isinstance(entry, tuple):
            yield from ((label(name, i), each) for i, each in enumerate(entry))
        else:
            yield name, entry


def examples(entry: Range | Ranges) -> list[Any]:
    """Values that stand for all that a parameter may get."""
    if not isinstance(entry, tuple):
        return entry.examples + ([] if entry.otherwise is None else [entry.otherwise])
    longest = max(len(each.examples) for each in entry)
    return [[each.examples[i % len(each.examples)] for each in entry] for i in range(longest)]


def grid_size(space: Space) -> int | None:
    """Number of points of the grid; None where a range is not made of points."""
    grids = [each.grid for _, each in named_ranges(space)]
    if any(grid is None for grid in grids):
        return None
    return math.prod(len(grid) for grid in grids)


def grid_points(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of the grid, by the names of the ranges."""
    names = [name for name, _ in named_ranges(space)]
    for point in product(*(each.grid for _, each in named_ranges(space))):
        yield dict(zip(names, point, strict=True))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
