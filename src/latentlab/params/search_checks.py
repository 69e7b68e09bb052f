"""What is wrong with the spaces of `params.yaml`, as far as its schema cannot tell."""

from typing import Any

from pydantic import TypeAdapter

from latentlab.params.fields import SEARCH, flatten
from latentlab.params.messages import Location, Mistakes, leaves, nearest, refused
from latentlab.params.ranges import Range, Ranges, Space, examples, is_switch, named_ranges
from latentlab.params.schema import Params

STUDIES = {("search", "space"): "train", ("finetune", "search", "space"): "finetune"}
"""Where each space is, and the section whose parameters it searches."""
FIGURES = {"train": "validation/mse", "finetune": "validation/accuracy"}
"""The figure of each that the other does not have."""
NOT_SEARCHED = ("epochs", "folds", "search", "label_efficiency", "scratch_baseline")
"""Parameters that a study has of its own, or not at all."""

SPACE: TypeAdapter[Space] = TypeAdapter(Space)


def mistakes_in_search(document: dict[str, Any], known: Mistakes) -> Mistakes:
    """Ranges that no parameter may have, conditions that cannot hold, `search` without a range."""
    mistakes: Mistakes = {}
    for place, section in STUDIES.items():
        space = _at(document, place)
        if space and not any(location[: len(place)] == place for location in known):
            mistakes |= _mistakes_in_space(SPACE.validate_python(space), place, section)
        objectives = (*place[:-1], "objectives")
        own = FIGURES[section]
        for foreign in set(FIGURES.values()) - {own}:
            if foreign in _at(document, objectives) and (*objectives, foreign) not in known:
                mistakes[*objectives, foreign] = f" is no figure of {section}; it has {own}"
    return mistakes | _words_without_range(document, known)


def _mistakes_in_space(space: Space, place: Location, section: str) -> Mistakes:
    searchable = _searchable(section)
    asked_for = {name for _, each in named_ranges(space) for name in each.when}
    mistakes: Mistakes = {}
    for name, entry in space.items():
        if is_switch(name):
            fault = None
            if not any(asked == name or asked.startswith(f"{name}[") for asked in asked_for):
                fault = (
                    f" is neither a parameter nor named by a `when`; {nearest(name, searchable)}"
                )
            elif isinstance(entry, tuple):
                fault = " steers conditions: it must be one range, not a list"
        elif name not in searchable:
            fault = f" is not a parameter to search; {nearest(name, searchable)}"
        else:
            fault = _fault_of_values(name, entry)
        if fault is None:
            fault = _fault_of_conditions(name, entry, space)
        if fault is not None:
            mistakes[*place, name] = fault
    return mistakes


def _fault_of_values(name: str, entry: Range | Ranges) -> str | None:
    """What the parameter `name` says against the values that it may get."""
    refusals = {}
    for example in examples(entry):
        words = refused(Params, tuple(name.split(".")), example)
        if example == SEARCH:
            words = ["must be a value"]
        if words:
            # the last is about the values of a list, where a single value would do too
            refusals[repr(example)] = words[-1 if isinstance(example, list) else 0]
    if not refusals:
        return None
    return f" allows {', '.join(refusals)}, but {name} {next(iter(refusals.values()))}"


def _fault_of_conditions(name: str, entry: Range | Ranges, space: Space) -> str | None:
    listed = isinstance(entry, tuple)
    for label, each in named_ranges({name: entry}):
        if fault := _fault_of_when(label, each, space):
            return fault
        decides = not listed and not is_switch(name)
        if decides and each.when and "otherwise" not in each.model_fields_set:
            return " has a `when`; say with `otherwise` what it is where that does not hold"
        if "otherwise" in each.model_fields_set and not (decides and each.when):
            return ": `otherwise` goes with the `when` of a single parameter"
    return None


def _fault_of_when(label: str, entry: Range, space: Space) -> str | None:
    earlier: dict[str, Range] = {}
    for name, each in named_ranges(space):
        if name == label:
            break
        earlier[name] = each
    for name, wanted in entry.when.items():
        if name not in earlier:
            drawn = nearest(name, list(earlier)) if earlier else "it is the first"
            return f": `when` names '{name}', which is not drawn before it; {drawn}"
        if wanted == []:
            return f": `when` waits for no value of {name}"
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if not earlier[name].has(value):
                return f": `when` waits for {name} = {value!r}, which is never drawn"
    return None


def _words_without_range(document: dict[str, Any], known: Mistakes) -> Mistakes:
    """The word `search` where no study finds a value."""
    space = _at(document, ("search", "space"))
    mistakes: Mistakes = {}
    for name, value in flatten(document).items():
        place = tuple(name.split("."))
        if value != SEARCH or place in known or name in space:
            continue
        if place[0] == "compare":
            continue  # has a message of its own
        advice = "search.space has no range for it; add one there, or write a value here"
        if place[0] != "train":
            advice = "only train takes what the study found by this word; write a value here"
            if place[0] == "finetune":
                advice = "what finetune.search finds takes its place anyway; write a value here"
        mistakes[place] = f" = 'search': {advice}"
    return mistakes


def _searchable(section: str) -> list[str]:
    """The parameters of a section that a study may draw."""
    schema = Params.model_fields[section].annotation
    return [f"{section}.{name}" for name in leaves(schema) if name not in NOT_SEARCHED]


def _at(document: Any, place: Location) -> dict[str, Any]:
    """The mapping at a place of a document; empty where there is none."""
    for name in place:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}
