"""Reading `params.yaml`: its schema, and what only the whole file can tell of the search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml.comments import CommentedMap

from latentlab.params import SEARCH, Params, SearchParams, TrainParams, flatten
from latentlab.yaml_files import (
    Mistakes,
    Schema,
    find_mistakes,
    nearest,
    read_yaml,
    refusal,
    refused,
    sections,
)


def load_params(path: Path) -> Params:
    """Read and validate a `params.yaml`; ParamsError lists every mistake with its line."""
    document = read_yaml(path)
    return validate_params(document, document, path)


def validate_params(document: CommentedMap, source: CommentedMap, path: Path) -> Params:
    """Validate all of `document`; ParamsError gives lines of `source`, which was read from `path`.

    The two differ where `source` is a profile that was merged into `document`.
    """
    mistakes = find_mistakes(Params, document)
    mistakes |= _mistakes_in_search(document, mistakes)
    mistakes = mistakes or _vanishing_images(Params.model_validate(document))
    if mistakes:
        raise refusal(mistakes, source, path)
    return Params.model_validate(document)


def _vanishing_images(params: Params) -> Mistakes:
    """Encoders with more layers than an image can be halved."""
    mistakes: Mistakes = {}
    for name, model in (("train", params.train.model), ("vae", params.vae.model)):
        layers = 0 if model.channels == SEARCH else len(model.channels)
        if params.data.image_size >> layers < 1:
            mistakes[name, "model", "channels"] = (
                f" = {list(model.channels)}: has {layers} layers, but an image of "
                f"{params.data.image_size} pixels can be halved "
                f"{params.data.image_size.bit_length() - 1} times"
            )
    return mistakes


def _mistakes_in_search(document: CommentedMap, known: Mistakes) -> Mistakes:
    """Ranges that no parameter of train may have, and `search` without a range."""
    mistakes: Mistakes = {}
    search = document.get("search")
    space = search.get("space") if isinstance(search, dict) else None
    space = space if isinstance(space, dict) else {}
    searchable = _searchable()
    for name, choice in space.items():
        place = ("search", "space", name)
        if name not in searchable:
            mistakes[place] = f" is not a parameter to search; {nearest(str(name), searchable)}"
        elif not any(location[:3] == place for location in known):
            fault = _fault_of_range(name, choice)
            mistakes |= {place: fault} if fault else {}
    for name, value in flatten(document).items():
        place = tuple(name.split("."))
        if value != SEARCH or place in known or name in space:
            continue
        advice = "search.space has no range for it; add one there, or write a value here"
        if place[0] != "train":
            advice = "only parameters of train are searched; write a value here"
        mistakes[place] = f" = 'search': {advice}"
    return mistakes


def _fault_of_range(name: str, choice: Any) -> str | None:
    """What the parameter `name` says against the values of its range."""
    ranges = TypeAdapter(SearchParams.model_fields["space"].annotation)
    refusals = {}
    for example in ranges.validate_python({name: choice})[name].examples:
        words = refused(Params, tuple(name.split(".")), example)
        if example == SEARCH:
            words = ["must be a value"]
        if words:
            refusals[repr(example)] = words[0]
    if not refusals:
        return None
    return f" allows {', '.join(refusals)}, but {name} {next(iter(refusals.values()))}"


def _searchable() -> list[str]:
    """The parameters of train that accept the word `search`."""
    names = [f"train.{name}" for name in _leaves(TrainParams)]
    return [name for name in names if not refused(Params, tuple(name.split(".")), SEARCH)]


def _leaves(schema: Schema, prefix: str = "") -> Iterator[str]:
    """Dotted names of the values of a schema."""
    for name, field in schema.model_fields.items():
        section = next(sections(field.annotation), None)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from _leaves(section, f"{prefix}{name}.")
