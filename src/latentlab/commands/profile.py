"""`latentlab profile`: merge the settings of a profile into `params.yaml`, keeping its comments."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from latentlab.common.errors import ParamsError
from latentlab.common.files import atomic_path
from latentlab.common.project import Project, profile_name
from latentlab.params.load import load_params, validate_params
from latentlab.params.yaml_io import read_yaml

REPLACED = ("space", "objectives", "options", "base")
"""Mappings that are replaced as a whole, because their entries belong together."""

USER_ENTRIES = ("compare.", "denoise.")
"""Sections with entries of any name. An entry that the user removed is not added again."""

LINE_WIDTH = 4096
"""Maximum line width; no line of params.yaml is folded."""


class _Representer(RoundTripRepresenter):
    """Writes None as `null`; ruamel writes nothing."""

    def represent_null(self, value: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def apply_profile(project: Project, name: str) -> list[str]:
    """Merge a profile into `params.yaml` and return one line per changed value.

    The profile with the name of its dataset is merged first. The result is validated before it
    replaces the file. Raises ParamsError, and leaves the file unchanged, if there is no such
    profile, or if the file or the result is invalid.
    """
    path = _find(project, name)
    profile = read_yaml(path)
    load_params(project.params)  # its errors must not be attributed to the profile
    document = read_yaml(project.params)
    changes: dict[str, tuple[str, str]] = {}
    for each in (*_base(project, path, profile), profile):
        for key, before, after in _merge(document, each, ""):
            changes[key] = (changes.get(key, (before,))[0], after)
    yaml = YAML(typ="rt")
    yaml.Representer = _Representer
    yaml.width = LINE_WIDTH
    with atomic_path(project.params) as temporary:
        yaml.dump(document, temporary)
        validate_params(read_yaml(temporary), profile, path)
    return [
        f"{key}: {before} -> {after}" for key, (before, after) in changes.items() if before != after
    ]


def _find(project: Project, name: str) -> Path:
    path = project.profiles / f"{name}.yaml"
    if path.is_file():
        return path
    names = sorted(profile.stem for profile in project.profiles.glob("*.yaml"))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    raise ParamsError(f"there is no profile '{name}'{hint} Available: {', '.join(names)}")


def _base(project: Project, path: Path, profile: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the profile with the name of the dataset of another profile, if there is one."""
    data = profile.get("data")
    dataset = data.get("name") if isinstance(data, dict) else None
    if isinstance(dataset, str):
        base = project.profiles / f"{profile_name(dataset)}.yaml"
        if base != path and base.is_file():
            yield read_yaml(base)


def _merge(
    target: CommentedMap, source: dict[str, Any], prefix: str
) -> Iterator[tuple[str, str, str]]:
    """Set every value of `source` in `target`, in place; yield each path, and both values."""
    for key, value in source.items():
        path = f"{prefix}{key}"
        if prefix in USER_ENTRIES and key not in target:
            continue
        both = isinstance(value, dict) and isinstance(target.get(key), dict)
        # a network of another type has other keys
        if both and key not in REPLACED and value.get("type") in (None, target[key].get("type")):
            yield from _merge(target[key], value, f"{path}.")
        elif key not in target or target[key] != value:
            before = _summary(key, target[key]) if key in target else "unset"
            yield path, before, _summary(key, value)
            target[key] = value


def _summary(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if not isinstance(value, dict):
        return str(value)
    return f"{len(value)} {'ranges' if key == 'space' else 'values'}"
