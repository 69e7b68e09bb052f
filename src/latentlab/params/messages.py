"""Validation of YAML documents against a pydantic schema, with readable error messages.

All errors are reported at once. Each message gives the line, the value, what is allowed and the
closest valid name. Pydantic's own messages are used except for the few in `MESSAGES`.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap

from latentlab.common.errors import ParamsError
from latentlab.params.fields import SEARCH

Location = tuple[str | int, ...]
Schema = type[BaseModel]
Errors = dict[Location, str]
"""Error messages by location; a message continues after the dotted path of its location."""

HINT = "; did you mean "

MESSAGES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text; text that looks like a number or a date needs quotes",
    "tuple_type": "must be a list",
    "union_tag_invalid": "has the type '{tag}'; allowed types: {expected_tags}",
    "union_tag_not_found": "needs a `type`",
}
"""Replacements of pydantic's messages that mention Python types, by the type of the error."""


def find_errors(schema: Schema, document: dict[str, Any]) -> Errors:
    """Return all errors that `schema` finds in `document`."""
    errors: Errors = {}
    for error in _validation_errors(schema, document):
        # pydantic also reports a list as too short if some of its elements are invalid
        if error["type"] == "too_short" and error["input"]:
            continue
        location = _location(document, error)
        message = _describe(schema, location, error)
        if location in errors:  # each member of a union reports one: one of them must be fixed
            first, hint, name = errors[location].partition(HINT)
            errors[location] = f"{first} or {message}{hint}{name}"
        else:
            errors[location] = _shown_value(error) + message
    return errors


def params_error(errors: Errors, source: CommentedMap, path: Path) -> ParamsError:
    """Return an exception that lists all errors, in the order of the file `path`."""
    placed = sorted(((_line(source, place), place) for place in errors), key=lambda pair: pair[0])
    lines = [f"{path}:{line}: {_dotted(place)}{errors[place]}" for line, place in placed]
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    return ParamsError(f"{count} in the settings; nothing was run:\n  " + "\n  ".join(lines))


def first_error(invalid: ValidationError) -> str:
    """Return the first message of a validation error, with the path of the parameter."""
    error = invalid.errors()[0]
    # the message about a section as a whole starts with the name of one of its parameters
    of_section = error["type"] == "value_error" and isinstance(error["input"], dict)
    separator = "" if not error["loc"] else "." if of_section else ": "
    return _dotted(error["loc"]) + separator + _message(error)


def value_errors(schema: Schema, location: Location, value: Any) -> list[str]:
    """Return the errors of one value at one location, whatever the rest of the document is."""
    document = value
    for name in reversed(location):
        document = {name: document}
    return [
        _message(error)
        for error in _validation_errors(schema, document)
        if error["loc"][: len(location)] == location
    ]


def nearest(name: str, allowed: list[str]) -> str:
    """Return a suggestion: the allowed name closest to `name`, or all of them."""
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean '{close[0]}'?" if close else f"allowed: {', '.join(allowed)}"


def sections(annotation: Any) -> Iterator[Schema]:
    """Yield the sections that an annotation allows."""
    if _is_section(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def parameter_names(schema: Schema, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all parameters of a section."""
    for name, field in schema.model_fields.items():
        if _is_section(field.annotation):
            yield from parameter_names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _validation_errors(schema: Schema, document: dict[str, Any]) -> list[ErrorDetails]:
    try:
        schema.model_validate(document)
    except ValidationError as invalid:
        return invalid.errors()
    return []


def _location(document: Any, error: ErrorDetails) -> Location:
    """Return the location in the document; pydantic adds the members of unions to the path."""
    location: Location = ()
    for part in error["loc"]:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            continue
        location += (part,)
    return (*location, error["loc"][-1]) if error["type"] == "missing" else location


def _describe(schema: Schema, location: Location, error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return f" is missing{_expected(schema, location)}"
    if error["type"] == "extra_forbidden":
        return f" is not a known key; {nearest(str(location[-1]), _keys(schema, location[:-1]))}"
    if error["type"] == "union_tag_not_found":
        _, _, allowed = next(iter(value_errors(schema, location, {"type": ""})), "").partition("; ")
        return f"{_message(error)}; {allowed}"
    return _message(error) + _suggestion(schema, location, error)


def _expected(schema: Schema, location: Location) -> str:
    """Describe a missing value as far as the schema defines it."""
    if keys := _keys(schema, location):
        origin = get_origin(_annotation(schema, location))
        known = (
            "names of your choice to sections" if origin is dict else f"the keys {', '.join(keys)}"
        )
        mapping = "a list of mappings" if origin is list else "a mapping"
        return f"; it must be {mapping} of {known}"
    messages = value_errors(schema, location, object())
    return f"; it {' or '.join(messages)}" if messages else ""


def _message(error: ErrorDetails) -> str:
    """Return a message that continues after the name of a parameter."""
    if error["type"] in MESSAGES:
        return MESSAGES[error["type"]].format(**error.get("ctx", {}))
    message = error["msg"].removeprefix("Value error, ")
    # "Input should be ...", "String should match ...", "List should have ... after validation, ..."
    subject, verb, rest = message.partition(" after validation")[0].partition(" should ")
    if verb and subject.isalpha():
        return f"must {rest}"
    return message[0].lower() + message[1:]


def _shown_value(error: ErrorDetails) -> str:
    """Return the start of a message: the value, if it is short enough to help."""
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden"):
        return ""
    if isinstance(value, dict):
        return ": "
    if value is None:
        return " is null: "
    return f" = {value!r}: " if isinstance(value, str | list) else f" = {str(value).lower()}: "


def _suggestion(schema: Schema, location: Location, error: ErrorDetails) -> str:
    value = error["input"]
    if not isinstance(value, str):
        return ""
    literals = error["ctx"]["expected"] if error["type"] == "literal_error" else ""
    words = literals.replace(" or ", ", ").split(", ") if literals else []
    if value in words:
        return "; write it without quotes"
    known = [word.strip("'") for word in words]
    if location[0] == "train" and not value_errors(schema, location, SEARCH):
        known.append(SEARCH)
    close = difflib.get_close_matches(value, known, n=1)
    return f"{HINT}'{close[0]}'?" if close else ""


def _keys(schema: Schema, parents: Location) -> list[str]:
    """Return the keys of the section at `parents`."""
    known = sections(_annotation(schema, parents))
    return list(dict.fromkeys(name for section in known for name in section.model_fields))


def _annotation(schema: Schema, location: Location) -> Any:
    """Return the annotation of the value at a location."""
    annotation: Any = schema
    for name in location:
        if isinstance(name, int):
            continue  # an element of a list: `sections` searches the annotation of the list
        # a section, or a section that may be null
        own = [each for each in (annotation, *get_args(annotation)) if _is_section(each)]
        if get_origin(annotation) is not dict and own and str(name) in own[0].model_fields:
            annotation = own[0].model_fields[str(name)].annotation
        else:  # a mapping of names, which may be equal to those of fields, to sections
            annotation = get_args(annotation)[-1]
    return annotation


def _is_section(annotation: Any) -> TypeGuard[Schema]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _line(document: CommentedMap, location: Location) -> int:
    """Return the line, from 1, of the deepest part of `location` that is in the document."""
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
