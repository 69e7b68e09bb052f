"""The sections of `compare`: which parameter varies, and with which budget."""

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from latentlab.params.fields import Count, Epochs, Images, Plain, Section


class Comparison(Section, title="Comparison"):
    """Trainings of `train` that differ in one parameter, or in several parameters at once."""

    parameter: str | None = Field(
        default=None,
        description="Path of the parameter that varies, such as `train.optimizer`; null if "
        "`values` has names.",
    )
    values: (
        Annotated[list[Plain], Field(min_length=1)]
        | Annotated[dict[str, dict[str, Plain]], Field(min_length=1)]
    ) = Field(
        description="A list of values of `parameter`. Or a mapping of names to `{path: value}`, "
        "for variants that set several parameters."
    )
    base: dict[str, Plain] = Field(
        default={},
        description="`{path: value}` of parameters that all variants share and that differ from "
        "`train`.",
    )
    epochs: Epochs = Field(description="Epochs of each training.")
    max_train_images: Images | None = Field(
        default=None, description="Largest number of training images; null uses all."
    )
    seeds: Count = Field(
        default=1, description="Trainings of each variant with different seeds; errors are means."
    )

    @model_validator(mode="after")
    def _variants_are_defined(self) -> "Comparison":
        if (self.parameter is None) != isinstance(self.values, dict):
            raise ValueError(
                "values must be a list if there is a `parameter`, and else a mapping of names to "
                "`{path: value}`"
            )
        if len(self.variants) < len(self.values):
            raise ValueError("values must differ from each other")
        for name in self.variants:
            # the name is used in file names and metric names
            if not re.fullmatch(r"[\w-][\w .-]*", name, re.ASCII):
                raise ValueError(
                    f"values: the name '{name}' must consist of letters, digits, '_', '-', '.' and "
                    "spaces"
                )
        return self

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers, so that metrics can be plotted against them."""
        return isinstance(self.values, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.values
        )

    @property
    def varied(self) -> dict[str, dict[str, Any]]:
        """The values that differ between variants: `{variant: {path: value}}`."""
        if isinstance(self.values, dict):
            return self.values
        return {_variant_name(value): {str(self.parameter): value} for value in self.values}

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """The values that each variant changes in `train`: `{variant: {path: value}}`."""
        return {name: self.base | values for name, values in self.varied.items()}


def _variant_name(value: Any) -> str:
    """Return a value as a name: 8, adam, 8-16-32, and none for an empty list."""
    return "-".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
