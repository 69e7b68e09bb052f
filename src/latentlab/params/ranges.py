"""The ranges of a search space, as they are written in `params.yaml`.

A space maps names to ranges. A name is the path of a parameter, or any other word for a switch that
only the conditions of later ranges read. A list of ranges makes a list of values, one for each
range whose condition holds.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from latentlab.params.fields import Count, Flag, Integer, Plain, Positive, Real, Section


class _Range(Section):
    """What every range has: when it applies, and what its parameter is where it does not."""

    when: dict[str, Plain] = Field({})
    otherwise: Plain = None

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
    def last(self) -> int:
        """The highest value that a step leads to."""
        return self.high - (self.high - self.low) % self.step

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return [self.low, self.last]

    @property
    def points(self) -> int:
        """Number of values."""
        return (self.last - self.low) // self.step + 1

    def point(self, index: int) -> int:
        """The value at a place."""
        return self.low + index * self.step

    def has(self, value: Any) -> bool:
        """Whether the value may be drawn."""
        return (
            isinstance(value, int)
            and self.low <= value <= self.last
            and (value - self.low) % self.step == 0
        )

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
        return [self.low, math.nextafter(self.low, self.last), self.last]

    @property
    def last(self) -> float:
        """The highest value that a step leads to."""
        return self.high if self.step is None else self.point(self.points - 1)

    @property
    def points(self) -> int:
        """Number of values; 0 where there are as many as there are floats."""
        if self.step is None:
            return 0
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def point(self, index: int) -> float:
        """The value at a place, as one would write it: 0.3, where 0.1 + 0.2 is a little more."""
        return float(_exact(self.low) + index * _exact(self.step))

    def nearest(self, value: float) -> float:
        """The value to which another one was rounded."""
        if self.step is None:
            return value
        return self.point(round((value - self.low) / self.step))

    def has(self, value: Any) -> bool:
        """Whether the value may be drawn."""
        if not isinstance(value, int | float) or not self.low <= value <= self.last:
            return False
        return value == self.nearest(value)

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
    choices: Annotated[list[Plain], Field(min_length=1)]

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return self.choices

    @property
    def points(self) -> int:
        """Number of values."""
        return len(self.choices)

    def point(self, index: int) -> Any:
        """The value at a place."""
        return self.choices[index]

    def has(self, value: Any) -> bool:
        """Whether the value may be drawn."""
        return value in self.choices


def _one_or_list(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


Range = Annotated[IntegerRange | FloatRange | Choices, Field(discriminator="type")]
Ranges = Annotated[tuple[Range, ...], Field(min_length=1)]
# told apart beforehand: otherwise a mistake in one is also told as one in the other
Entry = Annotated[
    Annotated[Range, Tag("one")] | Annotated[Ranges, Tag("list")], Discriminator(_one_or_list)
]
Space = dict[str, Entry]


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
    """Values that stand for all that a parameter may get; of a list, lists of one value."""
    if isinstance(entry, tuple):
        return [[example] for each in entry for example in each.examples]
    fallback = [entry.otherwise] if "otherwise" in entry.model_fields_set else []
    return entry.examples + fallback


def grid_size(space: Space) -> int:
    """Number of points of the grid; 0 where a range is not made of points."""
    return math.prod(each.points for _, each in named_ranges(space))


def grid_point(space: Space, index: int) -> dict[str, Any]:
    """One point of the grid, by the names of the ranges."""
    ranges = list(named_ranges(space))
    point = {}
    for name, each in reversed(ranges):
        index, place = divmod(index, each.points)
        point[name] = each.point(place)
    return {name: point[name] for name, _ in ranges}


def _exact(value: float) -> Decimal:
    """The number that was written."""
    return Decimal(str(value))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
