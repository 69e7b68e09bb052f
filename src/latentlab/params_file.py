"""Reading `params.yaml`: every mistake at once, each with its line, value and a way to mend it."""

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from latentlab.errors import ParamsError
from latentlab.params import SEARCH, Params, flatten, with_values

Location = tuple[str | int, ...]


def load_params(path: Path) -> Params:
    """Read and validate a `params.yaml`; ParamsError lists every mistake with its line."""
    document = read_yaml(path)
    try:
        params = Params.model_validate(document)
    except ValidationError as invalid:
        raise _refusal([_describe(error, document, path) for error in invalid.errors()]) from None
    mistakes = _mistakes_in_space(params, document, path)
    if mistakes:
        raise _refusal(mistakes)
    return params


def read_yaml(path: Path) -> CommentedMap:
    """Parse a YAML 1.2 mapping, keeping comments and line numbers."""
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run inside a latentlab repository") from None
    except UnicodeDecodeError as broken:
        raise ParamsError(f"{path} is not UTF-8 text: {broken}") from None
    except MarkedYAMLError as broken:
        line = broken.problem_mark.line + 1 if broken.problem_mark else 1
        raise ParamsError(f"{path}:{line}: not valid YAML: {broken.problem}") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(f"{path}: must be a mapping of sections such as `data:`")
    return document


def _refusal(mistakes: list[str]) -> ParamsError:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return ParamsError(f"{count}, nothing was run:\n  " + "\n  ".join(mistakes))


def _describe(error: ErrorDetails, document: CommentedMap, path: Path) -> str:
    """One mistake: file:line, dotted path, value found, what is allowed, the nearest name."""
    # pydantic puts the tag of a union between the keys; only keys of the document are wanted
    location = tuple(part for part in error["loc"] if part not in ("int", "float", "categorical"))
    where = f"{path}:{_line(document, location)}: {_dotted(location)}"
    if error["type"] == "missing":
        return f"{where} is missing; see the comments in params.yaml for what it may be"
    if error["type"] == "extra_forbidden":
        names = _allowed_names(location[:-1])
        return f"{where} is not a known name; {_nearest(str(location[-1]), names)}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    text = f"{where} = {error['input']!r}: {message}" if location else f"{where}: {message}"
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        close = difflib.get_close_matches(error["input"], _literals(error), n=1)
        text += f"; did you mean '{close[0]}'?" if close else ""
    return text


def _literals(error: ErrorDetails) -> list[str]:
    return [word.strip("' ") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]


def _nearest(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean '{close[0]}'?" if close else f"allowed here: {', '.join(allowed)}"


def _allowed_names(parents: Location) -> list[str]:
    """The field names of the section at `parents`."""
    model: Any = Params
    for name in parents:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        candidates = [annotation, *get_args(annotation)]
        model = next((c for c in candidates if _is_section(c)), None)
        if model is None:
            return ["type", "low", "high", "log", "choices"]
    return list(model.model_fields)


def _is_section(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


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
    return ".".join(str(part) for part in location) or "params"


def _mistakes_in_space(params: Params, document: CommentedMap, path: Path) -> list[str]:
    """Ranges of unknown or unsearchable parameters, bad ranges, and `search` without a range."""
    values = flatten(params.tree())
    searchable = [name for name in values if name.startswith("train.")]
    mistakes = []
    for name, choice in params.search.space.items():
        where = f"{path}:{_line(document, ('search', 'space', name))}: search.space.{name}"
        if name not in searchable:
            mistakes.append(f"{where} is not a parameter of train; {_nearest(name, searchable)}")
            continue
        for example in choice.examples:
            try:
                with_values(params, {name: example})
            except ValidationError as invalid:
                message = invalid.errors()[0]["msg"]
                mistakes.append(f"{where}: {example!r} is not allowed for {name}: {message}")
    for name, value in values.items():
        if value != SEARCH:
            continue
        where = f"{path}:{_line(document, tuple(name.split('.')))}: {name}"
        if name not in params.search.space:
            mistakes.append(
                f"{where} = 'search', but search.space has no range for it; "
                "add one there, or write a value here"
            )
    return mistakes
