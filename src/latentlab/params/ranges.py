"""The ranges of a search space in `params.yaml`.

A space maps names to ranges. A name is the path of a parameter, or a word without a dot: a switch,
which is sampled only for the conditions of later ranges. A list of ranges describes a list of
values, with one value for each range whose condition is true.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from latentlab.params.fields import Count, Flag, Integer, Plain, Positive, Real, Section


class _Range(Section):
    """The condition of a range, and the value of its parameter if the condition is false."""

    when: dict[str, Plain] = Field(
        default={},
        description="`{name: value}`: conditions on ranges above; a list means one of its values.",
    )
    otherwise: Plain = Field(
        default=None, description="Value of the parameter if a condition of `when` is false."
    )

    def applies(self, sampled: dict[str, Any]) -> bool:
        """Return whether the values sampled so far fulfill all conditions of `when`."""
        return all(
            name in sampled and sampled[name] in _as_list(value)
            for name, value in self.when.items()
        )


class IntegerRange(_Range, title="Integer range"):
    """Integers from `low` to `high`, both included, at a distance of `step`."""

    type: Literal["int"] = Field(description="Type of the range.")
    low: Integer = Field(description="Lowest value.")
    high: Integer = Field(description="Highest value, included.")
    step: Count = Field(default=1, description="Distance between values.")
    log: Flag = Field(default=False, description="Whether values are sampled on a log scale.")

    @property
    def last(self) -> int:
        """The highest value that can be reached in steps from `low`."""
        return self.high - (self.high - self.low) % self.step

    @property
    def examples(self) -> list[Any]:
        """Values that represent the range when it is validated."""
        return [self.low, self.last]

    @property
    def points(self) -> int:
        """The number of values."""
        return (self.last - self.low) // self.step + 1

    def point(self, index: int) -> int:
        """Return the value at an index."""
        return self.low + index * self.step

    def has(self, value: Any) -> bool:
        """Return whether the range contains a value."""
        return (
            isinstance(value, int)
            and self.low <= value <= self.last
            and (value - self.low) % self.step == 0
        )

    @model_validator(mode="after")
    def _ordered(self) -> "IntegerRange":
        if self.low > self.high or (self.log and self.low < 1):
            raise ValueError("low must be at most high, and at least 1 with log: true")
        if self.log and self.step > 1:
            raise ValueError("step and log: true cannot be combined")
        return self


class FloatRange(_Range, title="Float range"):
    """Real numbers from `low` to `high`, at a distance of `step` unless it is null."""

    type: Literal["float"] = Field(description="Type of the range.")
    low: Real = Field(description="Lowest value.")
    high: Real = Field(description="Highest value, included.")
    step: Positive | None = Field(
        default=None, description="Distance between values; null allows every real number."
    )
    log: Flag = Field(default=False, description="Whether values are sampled on a log scale.")

    @property
    def examples(self) -> list[Any]:
        """Values that represent the range when it is validated; one of them is not an integer."""
        return [self.low, math.nextafter(self.low, self.last), self.last]

    @property
    def last(self) -> float:
        """The highest value that can be reached in steps from `low`."""
        return self.high if self.step is None else self.point(self.points - 1)

    @property
    def points(self) -> int:
        """The number of values; 0 if there is no step."""
        if self.step is None:
            return 0
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def point(self, index: int) -> float:
        """Return the value at an index, computed in decimal: 0.3, not 0.1 + 0.2.

        Raises ValueError if there is no step.
        """
        if self.step is None:
            raise ValueError("a range without a step has no points")
        return float(_exact(self.low) + index * _exact(self.step))

    def nearest(self, value: float) -> float:
        """Return the value of the range that is nearest to `value`."""
        if self.step is None:
            return value
        return self.point(round((value - self.low) / self.step))

    def has(self, value: Any) -> bool:
        """Return whether the range contains a value."""
        if not isinstance(value, int | float) or not self.low <= value <= self.last:
            return False
        return value == self.nearest(value)

    @model_validator(mode="after")
    def _ordered(self) -> "FloatRange":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("low must be at most high, and above 0 with log: true")
        if self.log and self.step:
            raise ValueError("step and log: true cannot be combined")
        return self


class Choices(_Range, title="Categorical range"):
    """One of several values, which may be lists."""

    type: Literal["categorical"] = Field(description="Type of the range.")
    choices: Annotated[list[Plain], Field(min_length=1)] = Field(description="Possible values.")

    @property
    def examples(self) -> list[Any]:
        """Values that represent the range when it is validated."""
        return self.choices

    @property
    def points(self) -> int:
        """The number of values."""
        return len(self.choices)

    def point(self, index: int) -> Any:
        """Return the value at an index."""
        return self.choices[index]

    def has(self, value: Any) -> bool:
        """Return whether the range contains a value."""
        return value in self.choices


def _one_or_list(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


Range = Annotated[IntegerRange | FloatRange | Choices, Field(discriminator="type")]
Ranges = Annotated[tuple[Range, ...], Field(min_length=1)]
# discriminated, because an error in one form would otherwise also be reported for the other
Entry = Annotated[
    Annotated[Range, Tag("one")] | Annotated[Ranges, Tag("list")], Discriminator(_one_or_list)
]
Space = dict[str, Entry]


def is_switch(name: str) -> bool:
    """Return whether a name of a space is a switch, not a parameter."""
    return "." not in name


def label(name: str, index: int) -> str:
    """Return the name of one range of a list."""
    return f"{name}[{index}]"


def named_ranges(space: Space) -> Iterator[tuple[str, Range]]:
    """Yield every range with its name in conditions and tables; those of lists are numbered."""
    for name, entry in space.items():
        if isinstance(entry, tuple):
            yield from ((label(name, i), each) for i, each in enumerate(entry))
        else:
            yield name, entry


def examples(entry: Range | Ranges) -> list[Any]:
    """Return values that represent all values of a parameter; for a list, lists of one value."""
    if isinstance(entry, tuple):
        return [[example] for each in entry for example in each.examples]
    fallback = [entry.otherwise] if "otherwise" in entry.model_fields_set else []
    return entry.examples + fallback


def grid_size(space: Space) -> int:
    """Return the number of points of the grid; 0 if a float range has no step."""
    return math.prod(each.points for _, each in named_ranges(space))


def grid_point(space: Space, index: int) -> dict[str, Any]:
    """Return one point of the grid, `{name of the range: value}`."""
    ranges = list(named_ranges(space))
    point = {}
    for name, each in reversed(ranges):
        index, position = divmod(index, each.points)
        point[name] = each.point(position)
    return {name: point[name] for name, _ in ranges}


def _exact(value: float) -> Decimal:
    """Return the decimal number that was written in the file."""
    return Decimal(str(value))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
