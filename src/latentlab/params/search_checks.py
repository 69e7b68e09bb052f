"""Checks of the search spaces of `params.yaml` that its schema cannot express."""

from typing import Any

from pydantic import TypeAdapter

from latentlab.params.classification import FinetuneParams
from latentlab.params.fields import SEARCH, Section, flatten
from latentlab.params.messages import Errors, Location, nearest, parameter_names, value_errors
from latentlab.params.ranges import Range, Ranges, Space, examples, is_switch, named_ranges
from latentlab.params.renamed import new_path
from latentlab.params.schema import Params, TrainParams

STUDIES = {("search", "space"): "train", ("finetune", "search", "space"): "finetune"}
"""Locations of the search spaces, and the section whose parameters each of them searches."""
SECTIONS: dict[str, type[Section]] = {"train": TrainParams, "finetune": FinetuneParams}
METRICS = {"train": "validation/mse", "finetune": "validation/accuracy"}
"""The objective of each section that the other one does not have."""
NOT_SEARCHED = ("epochs", "folds", "precision", "search", "label_efficiency", "scratch_baseline")
"""Parameters that a study has itself, does not have, or does not change."""

SPACE: TypeAdapter[Space] = TypeAdapter(Space)


def search_errors(document: dict[str, Any], known: Errors) -> Errors:
    """Return errors of ranges, conditions and objectives, and of `search` without a range.

    Spaces that contain one of the errors in `known` are not checked.
    """
    errors: Errors = {}
    for location, section in STUDIES.items():
        space = _mapping_at(document, location)
        if space and not any(each[: len(location)] == location for each in known):
            errors |= _space_errors(SPACE.validate_python(space), location, section)
        objectives = (*location[:-1], "objectives")
        own = METRICS[section]
        for other in set(METRICS.values()) - {own}:
            if other in _mapping_at(document, objectives) and (*objectives, other) not in known:
                errors[*objectives, other] = f" is not a metric of {section}; use {own} instead"
    return errors | _search_without_range(document, known)


def _space_errors(space: Space, location: Location, section: str) -> Errors:
    searchable = _searchable(section)
    used_in_conditions = {name for _, each in named_ranges(space) for name in each.when}
    errors: Errors = {}
    for name, entry in space.items():
        if is_switch(name):
            error = None
            if not any(each == name or each.startswith(f"{name}[") for each in used_in_conditions):
                error = f" is neither a parameter nor used in a `when`; {nearest(name, searchable)}"
            elif isinstance(entry, tuple):
                error = " is used in conditions, so it must be one range, not a list"
        elif name not in searchable:
            renamed = new_path(name)
            known = renamed in searchable
            help_text = f"it was renamed to {renamed}" if known else nearest(name, searchable)
            error = f" is not a parameter that can be searched; {help_text}"
        else:
            error = _error_of_values(name, entry)
        if error is None:
            error = _error_of_conditions(name, entry, space)
        if error is not None:
            errors[*location, name] = error
    return errors


def _error_of_values(name: str, entry: Range | Ranges) -> str | None:
    """Return the error of values in the range that the parameter `name` does not allow."""
    invalid: dict[str, str] = {}
    for example in examples(entry):
        messages = value_errors(Params, tuple(name.split(".")), example)
        if example == SEARCH:
            messages = ["must be a value"]
        if messages:
            # the last message is about the elements of a list, if a single value is allowed too
            invalid[repr(example)] = messages[-1 if isinstance(example, list) else 0]
    if not invalid:
        return None
    return f" contains {', '.join(invalid)}, but {name} {next(iter(invalid.values()))}"


def _error_of_conditions(name: str, entry: Range | Ranges, space: Space) -> str | None:
    listed = isinstance(entry, tuple)
    for label, each in named_ranges({name: entry}):
        if error := _error_of_when(label, each, space):
            return error
        sets_parameter = not listed and not is_switch(name)
        if sets_parameter and each.when and "otherwise" not in each.model_fields_set:
            return " has a `when`, so it needs `otherwise`, its value if the condition is false"
        if "otherwise" in each.model_fields_set and not (sets_parameter and each.when):
            return ": `otherwise` is allowed only for one parameter with a `when`, not in a list"
    return None


def _error_of_when(label: str, entry: Range, space: Space) -> str | None:
    earlier: dict[str, Range] = {}
    for name, each in named_ranges(space):
        if name == label:
            break
        earlier[name] = each
    for name, wanted in entry.when.items():
        if name not in earlier:
            help_text = nearest(name, list(earlier)) if earlier else "this is the first range"
            return f": `when` needs a range above, and '{name}' is not one; {help_text}"
        if wanted == []:
            return f": `when` has no value for {name}"
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if not earlier[name].has(value):
                return f": `when` has {name} = {value!r}, which is not in its range"
    return None


def _search_without_range(document: dict[str, Any], known: Errors) -> Errors:
    """Return errors of the word `search` for which no study provides a value."""
    space = _mapping_at(document, ("search", "space"))
    errors: Errors = {}
    for name, value in flatten(document).items():
        location = tuple(name.split("."))
        if value != SEARCH or location in known or name in space:
            continue
        if location[0] == "compare":
            continue  # reported with the comparison
        advice = "search.space has no range for it; add one there, or write a value here"
        if location[0] == "finetune":
            advice = "write a value here; the values that finetune.search finds replace it"
        elif location[0] != "train":
            advice = "the word is allowed in train only; write a value here"
        errors[location] = f" = 'search': {advice}"
    return errors


def _searchable(section: str) -> list[str]:
    """Return the paths of the parameters of a section that a study may search."""
    names = parameter_names(SECTIONS[section])
    return [f"{section}.{name}" for name in names if name not in NOT_SEARCHED]


def _mapping_at(document: Any, location: Location) -> dict[str, Any]:
    """Return the mapping at a location of a document; empty if there is none."""
    for name in location:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}
