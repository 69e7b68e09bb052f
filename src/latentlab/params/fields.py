"""Types of the values in `params.yaml`, and the base class of its sections."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

SEARCH = "search"
"""The word that stands for "the value found by the stage `search`"."""


@dataclass(frozen=True)
class Unit:
    """Annotation of a field with the unit of its value; it becomes `unit` in the JSON schema."""

    name: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema of the field with its unit."""
        return handler(schema) | {"unit": self.name}


class Searchable:
    """Annotation of a field that also accepts the word `search`.

    It becomes `searchable: true` in the JSON schema. Whether the word is allowed depends on the
    section; `search_checks` reports it anywhere except in `train`.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return a schema that accepts the word before the field's own type is considered."""

        def validate(value: Any, validate_value: Callable[[Any], Any]) -> Any:
            return value if value == SEARCH else validate_value(value)

        return core_schema.no_info_wrap_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema of the field with the mark `searchable`."""
        return handler(schema) | {"searchable": True}


def _plain(value: Any) -> Any:
    """Return a YAML value as plain Python; round-trip readers return subclasses with comments."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise ValueError("must be a number, text, true, false, null or a list of them") from None


def described(pattern: str, words: str) -> BeforeValidator:
    """Return a validator of a text with this pattern that states what it must be in words."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and not re.search(pattern, value):
            raise ValueError(f"must be {words}")
        return value

    return BeforeValidator(check)


Plain = Annotated[Any, BeforeValidator(_plain)]
"""A value whose type depends on the parameter that it is for."""

# strict, because pydantic would otherwise read `true` as 1 and a quoted number as a number
Flag = Annotated[bool, Strict()]
NoFlag = BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value)
"""Rejects `true` for a `Literal` of numbers; pydantic accepts it as 1, because they are equal."""
Integer = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(gt=0)]
NonNegativeInteger = Annotated[int, Strict(), Field(ge=0)]
Real = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Fraction = Annotated[float, Strict(), Field(gt=0, lt=1)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Epochs = Annotated[Count, Unit("epochs")]
Images = Annotated[Count, Unit("images")]
Pixels = Annotated[NonNegativeInteger, Unit("pixels")]
Precision = Literal["auto", "float32", "bfloat16"]
"""Number format of the forward and backward pass; see `models.device`."""


class Section(BaseModel):
    """A mapping in `params.yaml`. Unknown keys are errors; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def tree(self) -> dict[str, Any]:
        """Return the section as plain mappings, lists and scalars."""
        # without warnings: the word `search` is not of the type of its field
        return self.model_dump(mode="json", warnings=False)


def flatten(tree: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Return a nested mapping as one level of paths, joined by `separator`.

    A search space is one value, because its keys are paths themselves.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and not path.endswith("search.space"):
            flat |= flatten(value, f"{path}{separator}", separator)
        else:
            flat[path] = value
    return flat
