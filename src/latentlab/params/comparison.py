"""The sections of `compare`: what is varied, and with which budget."""

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from latentlab.params.fields import Count, Plain, Section


class Comparison(Section):
    """What `compare` varies: one parameter of train, or several at once under names.

    `values` is a list for `parameter`, or a mapping of names to {parameter: value}. Everything
    else is as in `train`, changed by `base`; `epochs` and `images` are the budget of each value.
    """

    base: dict[str, Plain] = Field({})
    parameter: str | None = None
    values: (
        Annotated[list[Plain], Field(min_length=1)]
        | Annotated[dict[str, dict[str, Plain]], Field(min_length=1)]
    )
    epochs: Count
    max_train_images: Count | None = None

    @model_validator(mode="after")
    def _says_what_varies(self) -> "Comparison":
        if (self.parameter is None) != isinstance(self.values, dict):
            raise ValueError(
                "a list of values goes with a parameter, a mapping of names to values without"
            )
        if len(self.variants) < len(self.values):
            raise ValueError("values must differ from each other")
        for name in self.variants:
            if not re.fullmatch(r"[\w-][\w .-]*", name, re.ASCII):  # of runs and figures
                raise ValueError(
                    f"the name '{name}' may have letters, digits, '_', '-', '.' and spaces only"
                )
        return self

    @property
    def numeric(self) -> bool:
        """Whether a curve can be drawn against the value."""
        return isinstance(self.values, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.values
        )

    @property
    def varied(self) -> dict[str, dict[str, Any]]:
        """What each variant sets for itself, by its name."""
        if isinstance(self.values, dict):
            return self.values
        return {_short(value): {str(self.parameter): value} for value in self.values}

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """What each variant sets, by its name."""
        return {name: self.base | values for name, values in self.varied.items()}


def _short(value: Any) -> str:
    """A value as the name of a variant: 8, adam, 8-16-32, and none for an empty list."""
    return "-".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
