"""`latentlab schema`: write the JSON schema of `params.yaml`, and its reference page."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from latentlab.commands.transform_schema import add_transforms
from latentlab.common.files import atomic_path
from latentlab.params.fields import SEARCH
from latentlab.params.schema import Params

JsonSchema = dict[str, Any]

ANNOTATIONS = ("title", "description", "default", "unit")
"""Keywords of a JSON schema that do not restrict the value."""

SHARED = ("OptimizationSettings", "ConvolutionParams")
"""Definitions whose keys are described once, not in each section that has all of them."""

INTRODUCTION = """\
<!-- Written by `make reference`; do not edit. -->

# Parameters

All keys of `params.yaml`. A key without a default is required. `dvc repro` also needs the keys that
`dvc.yaml` names one by one: those of `search` and `train`, `runtime.seed` and `evaluate.walks`.
"""


def write_schema(root: Path) -> list[Path]:
    """Write `params.schema.json` and `docs/reference/params.md`, and return their paths."""
    texts = {
        root / "params.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        root / "docs" / "reference" / "params.md": reference_page(),
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def json_schema() -> JsonSchema:
    """Return the JSON schema (draft 2020-12) of `params.yaml`.

    The word `search` is allowed in `train` only.
    """
    schema = Params.model_json_schema()
    definitions = schema["$defs"]
    train = definitions["TrainParams"]["properties"]
    model = deepcopy(definitions["ConvolutionParams"])
    train["model"]["$ref"] = "#/$defs/SearchableConvolutionParams"
    for properties in (train, model["properties"]):
        for key, value in properties.items():
            if value.get("searchable"):
                properties[key] = _allow_search(value)
    definitions["SearchableConvolutionParams"] = model
    for definition in definitions.values():
        for value in definition["properties"].values():
            value.pop("searchable", None)
    add_transforms(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "params.yaml of latentlab",
    }


def _allow_search(schema: JsonSchema) -> JsonSchema:
    annotations = {key: schema[key] for key in ANNOTATIONS if key in schema}
    restrictions = {k: v for k, v in schema.items() if k not in (*ANNOTATIONS, "searchable")}
    alternatives = restrictions.get("anyOf", [restrictions])
    return annotations | {"anyOf": [*alternatives, {"const": SEARCH}]}


def reference_page() -> str:
    """Return the Markdown page with a table of the keys of each section."""
    schema = Params.model_json_schema()
    definitions = schema["$defs"]
    parts = [INTRODUCTION]
    described = set()
    for name, section in schema["properties"].items():
        (reference,) = _references(section)
        # pydantic omits a description that is equal to that of the definition
        description = section.get("description") or _summary(definitions[reference])
        if _is_mapping(section):
            link = _link(definitions, reference)
            parts.append(f"## {name}\n\n{description} Value of each entry: {link}.\n")
        else:
            described.add(reference)
            parts.append(f"## {name}\n\n{description}\n\n{_table(definitions, reference)}")
        if name == "train":
            parts.append(_searchable_note(definitions))
    parts.append("## Nested sections\n")
    for name in _nested(definitions, described):
        definition = definitions[name]
        heading = f"### {definition['title']}\n\n{_summary(definition)}"
        parts.append(f"{heading}\n\n{_table(definitions, name)}")
    return "\n".join(parts)


def _nested(definitions: JsonSchema, described: set[str]) -> list[str]:
    """Return the definitions that have no table of their own yet, sorted by their title."""
    return sorted(set(definitions) - described, key=lambda name: str(definitions[name]["title"]))


def _searchable_note(definitions: JsonSchema) -> str:
    excluded = [
        f"`{key}`"
        for name in SHARED
        for key, value in definitions[name]["properties"].items()
        if not value.get("searchable")
    ]
    return (
        "In `train` the word `search` is also allowed for all keys of `model` and `optimization` "
        f"except {', '.join(excluded)}, and for `augmentation`.\n"
    )


def _table(definitions: JsonSchema, name: str) -> str:
    """Return the table of a definition, with links to the keys that it shares with others."""
    definition = definitions[name]
    keys = definition["properties"]
    shared = [
        other
        for other in SHARED
        if other != name and set(definitions[other]["properties"]) <= set(keys)
    ]
    omitted = {key for other in shared for key in definitions[other]["properties"]}
    required = definition.get("required", [])
    rows = ["| key | value | default | unit | description |", "|---|---|---|---|---|"]
    for key in sorted(
        set(keys) - omitted, key=lambda key: (key not in required, [*keys].index(key))
    ):
        value = keys[key]
        cells = [
            f"`{key}`",
            _allowed(definitions, value),
            _default(value) if key not in required else "",
            _unit(value),
            value["description"],
        ]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    also = "".join(f"\nAlso all keys of {_link(definitions, other)}.\n" for other in shared)
    return "\n".join(rows) + "\n" + also


def _summary(definition: JsonSchema) -> str:
    """Return the first paragraph of a description."""
    return " ".join(str(definition["description"]).partition("\n\n")[0].split())


def _link(definitions: JsonSchema, name: str) -> str:
    title = "optimization" if name == "OptimizationSettings" else str(definitions[name]["title"])
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _is_mapping(schema: JsonSchema) -> bool:
    return "patternProperties" in schema or "additionalProperties" in schema


def _references(schema: Any) -> list[str]:
    """Return the names of all definitions that a schema refers to, in order."""
    if isinstance(schema, list):
        return [name for each in schema for name in _references(each)]
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        return [schema["$ref"].rpartition("/")[2]]
    nested = [_references(value) for key, value in schema.items() if key not in ANNOTATIONS]
    return list(dict.fromkeys(name for names in nested for name in names))


def _allowed(definitions: JsonSchema, schema: Any) -> str:
    """Describe the allowed values of a key."""
    if schema is True:
        return "any value"
    if "$ref" in schema:
        return _link(definitions, _references(schema)[0])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_allowed(definitions, each) for each in schema[union])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "null":
            return "`null`"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number" as kind:
            return " ".join([kind, *_range(schema)])
        case "string":
            return f"text matching `{schema['pattern']}`" if "pattern" in schema else "text"
        case "array":
            items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])[:1]}
            return f"list of ({_allowed(definitions, items)})"
        case "object":
            values = schema.get("additionalProperties")
            return f"mapping to ({_allowed(definitions, values)})" if values else "mapping"
    return "any value"


def _range(schema: JsonSchema) -> list[str]:
    symbols = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{symbol} {schema[name]}" for name, symbol in symbols.items() if name in schema]
    if "multipleOf" in schema:
        limits.append(f"multiple of {schema['multipleOf']}")
    return [", ".join(limits)] if limits else []


def _default(schema: JsonSchema) -> str:
    default = schema.get("default")
    if isinstance(default, dict) and _references(schema):
        return ""  # a section, whose keys have defaults
    return f"`{json.dumps(default)}`"


def _unit(schema: Any) -> str:
    """Return the unit of a key, or of one of its alternatives or elements."""
    if isinstance(schema, list):
        return next(filter(None, map(_unit, schema)), "")
    if not isinstance(schema, dict) or "$ref" in schema:
        return ""
    return str(
        schema.get("unit") or _unit([v for v in schema.values() if isinstance(v, list | dict)])
    )
