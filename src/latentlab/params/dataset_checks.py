"""Checks of the section `data` that depend on the dataset."""

from typing import Any

from latentlab.data.torchvision_catalog import (
    BUILT_IN,
    PREFIX,
    TORCHVISION,
    UNSUPPORTED,
    find_torchvision,
)
from latentlab.params.messages import Errors, nearest
from latentlab.params.schema import DataParams


def dataset_errors(data: DataParams) -> Errors:
    """Return errors of the name of a dataset of torchvision, and of its options."""
    if not data.name.startswith(PREFIX):
        if data.options:
            return {("data", "options"): f": {data.name} has no options; remove them"}
        return {}
    entry = find_torchvision(data.name)
    if entry is None:
        unknown = _unknown_class(data.name.removeprefix(PREFIX))
        return {("data", "name"): f" = '{data.name}': {unknown}"}
    errors: Errors = {}
    for option, allowed in entry.options.items():
        if option not in data.options:
            errors["data", "options"] = (
                f": {data.name} needs the option {option}; allowed: {', '.join(map(str, allowed))}"
            )
    for option, value in data.options.items():
        if message := _option_error(option, value, entry.options):
            errors["data", "options", option] = message
    return errors


def _unknown_class(name: str) -> str:
    """Explain why a class of torchvision is not supported, and name the alternative."""
    if name in BUILT_IN:
        return f"this dataset is built in; write '{BUILT_IN[name]}'"
    for reason, names in UNSUPPORTED.items():
        if name in names:
            return f"not supported: {reason}"
    known = [f"{PREFIX}{each}" for each in (*TORCHVISION, *BUILT_IN)]
    return f"no supported dataset of torchvision; {nearest(f'{PREFIX}{name}', known)}"


def _option_error(option: str, value: Any, options: dict[str, tuple[str | int, ...]]) -> str | None:
    if option not in options:
        hint = nearest(option, list(options)) if options else "it has no options"
        return f" is not an option of this dataset; {hint}"
    allowed = options[option]
    if value in allowed and type(value) is type(allowed[0]):
        return None
    return f" = {value!r}: must be one of {', '.join(map(str, allowed))}"
