"""The kinds of values that `params.yaml` holds."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WrapValidator

SEARCH = "search"


def _plain(value: Any) -> Any:
    """A value of any kind as Python's own; YAML readers have subclasses that remember comments."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise ValueError("must be a number, text, true, false, null or a list of them") from None


Plain = Annotated[Any, BeforeValidator(_plain)]
"""A value whose kind is not known here."""

Searchable = WrapValidator(lambda value, handler: value if value == SEARCH else handler(value))
"""Marks a field that accepts the word `search` beside its own type."""

# strict: without it `true` is 1, and a quoted number a number
Flag = Annotated[bool, Strict()]
NoFlag = BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value)
"""Has `true` refused beside literal numbers: it equals 1, so that pydantic takes it for one."""
Integer = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(gt=0)]
Real = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Fraction = Annotated[float, Strict(), Field(gt=0, lt=1)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Precision = Literal["auto", "float32", "bfloat16"]
"""Of what a network computes in training; see `runtime.mixed_precision`."""


class Section(BaseModel):
    """A mapping in `params.yaml`: unknown keys refused, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def tree(self) -> dict[str, Any]:
        """The section as plain mappings, lists and scalars."""
        # without warnings: the word `search` is not of its field's own type
        return self.model_dump(mode="json", warnings=False)


def flatten(tree: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """A nested mapping as one level of paths, dotted unless told otherwise.

    The space of a search stays whole: it has paths of its own.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and not path.endswith("search.space"):
            flat |= flatten(value, f"{path}{separator}", separator)
        else:
            flat[path] = value
    return flat
