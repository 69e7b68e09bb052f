"""Parameters with some of their values replaced."""

from typing import Any

from pydantic import ValidationError

from latentlab.params.schema import Params
from latentlab.params.yaml_files import first_refusal


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """A copy of `params` with the values at dotted paths replaced, validated anew.

    ValueError says what is wrong with values that do not go together.
    """
    tree = params.tree()
    for path, value in values.items():
        *parents, leaf = path.split(".")
        section = tree
        for name in parents:
            section = section[name]
        section[leaf] = value
    try:
        return Params.model_validate(tree)
    except ValidationError as invalid:
        raise ValueError(first_refusal(invalid)) from None


def resolve(params: Params, found: dict[str, Any]) -> Params:
    """Replace each word `search` by the value that the study found for it."""
    return with_values(params, {path: found[path] for path in params.searched})
