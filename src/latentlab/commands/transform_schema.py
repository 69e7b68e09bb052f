"""The JSON schema of one transform of a list `augmentation`, from the signatures of torchvision."""

import inspect
from enum import Enum
from typing import Any

from latentlab.data.augmentation import NAMES, signature_of

JsonSchema = dict[str, Any]
DEFINITION = "Transform"


def add_transforms(definitions: JsonSchema) -> None:
    """Add the definition of a transform, and use it in every list `augmentation`."""
    for definition in definitions.values():
        value = definition["properties"].get("augmentation", {})
        for alternative in value.get("anyOf", [value]):
            if "items" in alternative:
                alternative["items"] = {"$ref": f"#/$defs/{DEFINITION}"}
    definitions[DEFINITION] = {
        "title": DEFINITION,
        "description": "One transform of torchvision.transforms.v2 with its arguments.",
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {name: _transform(name) for name in NAMES},
    }


def _transform(name: str) -> JsonSchema:
    from torchvision.transforms import v2

    arguments = signature_of(name).parameters.values()
    schema = {
        "title": name,
        "description": (inspect.getdoc(getattr(v2, name)) or "").splitlines()[0],
        "type": "object",
        "additionalProperties": False,
        "properties": {each.name: _argument(each) for each in arguments},
    }
    # `size` is the image size unless it is written
    required = [each.name for each in arguments if each.default is each.empty]
    if required := [argument for argument in required if argument != "size"]:
        schema["required"] = required
    return schema


def _argument(parameter: inspect.Parameter) -> JsonSchema:
    """Return a schema that allows any value and shows the default."""
    if parameter.default is parameter.empty:
        return {"title": parameter.name}
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    plain = list(default) if isinstance(default, tuple) else default
    return {"title": parameter.name, "default": plain}
