"""YAML files checked against a schema: every mistake at once, in words for a person.

Each mistake is told with its line, the value found, what is allowed and the nearest right name.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap

from latentlab.common.errors import ParamsError
from latentlab.params.fields import SEARCH

Location = tuple[str | int, ...]
Schema = type[BaseModel]
Mistakes = dict[Location, str]
"""What is wrong, by the place where it is wrong; the text goes on after the name of the place."""

WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text; what looks like a number or a date needs quotes",
    "string_pattern_mismatch": "must match {pattern}",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
    "union_tag_invalid": "has the type '{tag}'; known are {expected_tags}",
    "union_tag_not_found": "needs a type: int, float or categorical",
}
"""Words for a person where those of pydantic are for a programmer, by the type of the error."""


def find_mistakes(schema: Schema, document: dict[str, Any]) -> Mistakes:
    """Every mistake that `schema` finds in `document`."""
    mistakes: Mistakes = {}
    for error in _errors(schema, document):
        location = _location(document, error)
        described = _describe(schema, location, error)
        # each member of a union refuses by itself: it must be one or the other
        earlier = f"{mistakes[location]} or " if location in mistakes else _shown(error)
        mistakes[location] = earlier + described
    return mistakes


def refusal(mistakes: Mistakes, source: CommentedMap, path: Path) -> ParamsError:
    """All mistakes in the order of the file, each as file:line, dotted path, what is wrong."""
    placed = [(_line(source, location), location) for location in mistakes]
    placed.sort(key=lambda pair: pair[0])
    lines = [f"{path}:{line}: {_dotted(place)}{mistakes[place]}" for line, place in placed]
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return ParamsError(f"{count}, nothing was done:\n  " + "\n  ".join(lines))


def first_refusal(invalid: ValidationError) -> str:
    """The first of what a schema says against a document, with the name of the parameter."""
    error = invalid.errors()[0]
    # what is said of a section as a whole begins with the name of one of its parameters
    of_section = error["type"] == "value_error" and isinstance(error["input"], dict)
    return _dotted(error["loc"]) + ("." if of_section else ": ") + _words(error)


def _errors(schema: Schema, document: dict[str, Any]) -> list[ErrorDetails]:
    try:
        schema.model_validate(document)
    except ValidationError as invalid:
        return invalid.errors()
    return []


def _location(document: Any, error: ErrorDetails) -> Location:
    """Where in the document: pydantic also puts the members of a union between the keys."""
    location: Location = ()
    *_, last = (None, *error["loc"])
    for part in error["loc"]:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            continue
        location += (part,)
    return (*location, last) if error["type"] == "missing" else location


def _describe(schema: Schema, location: Location, error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return f" is missing{_wanted(schema, location)}"
    if error["type"] == "extra_forbidden":
        return f" is not a known name; {nearest(str(location[-1]), _names(schema, location[:-1]))}"
    return _words(error) + _nearest_value(schema, location, error)


def _wanted(schema: Schema, location: Location) -> str:
    """What a missing value should be, as far as the schema tells."""
    if names := _names(schema, location):
        free = get_origin(_annotation(schema, location)) is dict
        known = "names that you choose to sections" if free else ", ".join(names)
        return f"; it must be a mapping of {known}"
    words = refused(schema, location, object())
    return f"; it {' or '.join(words)}" if words else ""


def _words(error: ErrorDetails) -> str:
    """What pydantic says, in words that go on after the name of a parameter."""
    if error["type"] in WORDS:
        return WORDS[error["type"]].format(**error.get("ctx", {}))
    message = error["msg"].removeprefix("Value error, ")
    return (message[0].lower() + message[1:]).replace("input should ", "must ")


def _shown(error: ErrorDetails) -> str:
    """The value found, where it is short enough to help."""
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden"):
        return ""
    if isinstance(value, dict):
        return ": "
    if value is None:
        return " is empty: "
    return f" = {value!r}: " if isinstance(value, str | list) else f" = {str(value).lower()}: "


def _nearest_value(schema: Schema, location: Location, error: ErrorDetails) -> str:
    value = error["input"]
    if not isinstance(value, str):
        return ""
    literals = error["ctx"]["expected"] if error["type"] == "literal_error" else ""
    words = literals.replace(" or ", ", ").split(", ") if literals else []
    if value in words:
        return "; write it without quotes"
    known = [word.strip("'") for word in words]
    if location[0] == "train" and not refused(schema, location, SEARCH):
        known.append(SEARCH)
    close = difflib.get_close_matches(value, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest(name: str, allowed: list[str]) -> str:
    """The allowed name that was probably meant, else all of them."""
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean '{close[0]}'?" if close else f"allowed here: {', '.join(allowed)}"


def refused(schema: Schema, location: Location, value: Any) -> list[str]:
    """What `schema` says against one value at one place; the rest of the document is left open."""
    document = value
    for name in reversed(location):
        document = {name: document}
    return [_words(e) for e in _errors(schema, document) if e["loc"][: len(location)] == location]


def _names(schema: Schema, parents: Location) -> list[str]:
    """The names that the section at `parents` knows."""
    known = sections(_annotation(schema, parents))
    return list(dict.fromkeys(name for section in known for name in section.model_fields))


def _annotation(schema: Schema, location: Location) -> Any:
    """What the schema says may stand at a location."""
    annotation: Any = schema
    for name in location:
        if isinstance(name, int):
            continue  # a place in a list: what may stand there is found within its annotation
        # a section, or a section that may be null
        own = [each for each in (annotation, *get_args(annotation)) if _is_section(each)]
        if get_origin(annotation) is not dict and own and str(name) in own[0].model_fields:
            annotation = own[0].model_fields[str(name)].annotation
        else:  # a mapping of free names, which may be those of fields, to sections of one kind
            annotation = get_args(annotation)[-1]
    return annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def sections(annotation: Any) -> Iterator[Schema]:
    """The sections that an annotation allows."""
    if _is_section(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def leaves(schema: Schema, prefix: str = "") -> Iterator[str]:
    """Dotted names of the values of a schema."""
    for name, field in schema.model_fields.items():
        section = next(sections(field.annotation), None)
        if section is None or field.annotation is not section:
            yield f"{prefix}{name}"
        else:
            yield from leaves(section, f"{prefix}{name}.")


def _line(document: CommentedMap, location: Location) -> int:
    """1-based line of the deepest part of `location` that the document has."""
    node: Any = document
    line = 1
    for key in location:
        try:
            line = (node.lc.item(key) if isinstance(key, int) else node.lc.key(key))[0] + 1
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)
