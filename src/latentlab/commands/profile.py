"""Profiles: settings of one dataset, merged into `params.yaml` with its comments kept."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from latentlab.common.errors import ParamsError
from latentlab.common.files import atomic_path
from latentlab.common.project import Project
from latentlab.params.load import load_params, validate_params
from latentlab.params.yaml_io import read_yaml

WHOLE = ("space", "objectives")
"""Mappings whose entries belong together: they are replaced, not mixed."""

OF_A_PERSON = ("compare.", "denoise.")
"""Sections with entries of any name: one that somebody removed is not brought back."""

LINE_WIDTH = 4096
"""Never fold a line of params.yaml."""


def apply_profile(project: Project, name: str) -> list[str]:
    """Merge a profile and return one line per changed value.

    The merged file is validated before it replaces `params.yaml`; ParamsError leaves it alone.
    """
    path = _find(project, name)
    profile = read_yaml(path)
    load_params(project.params)  # what is wrong already is no mistake of the profile
    document = read_yaml(project.params)
    changes = list(_merge(document, profile, ""))
    yaml = YAML(typ="rt")
    yaml.width = LINE_WIDTH
    with atomic_path(project.params) as temporary:
        yaml.dump(document, temporary)
        validate_params(read_yaml(temporary), profile, path)
    return changes


def _find(project: Project, name: str) -> Path:
    path = project.profiles / f"{name}.yaml"
    if path.is_file():
        return path
    names = sorted(profile.stem for profile in project.profiles.glob("*.yaml"))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise ParamsError(f"no profile '{name}'; {hint}there are: {', '.join(names)}")


def _merge(target: CommentedMap, source: dict[str, Any], prefix: str) -> Iterator[str]:
    """Set every value of `source` in `target`, in place; say what changed."""
    for key, value in source.items():
        path = f"{prefix}{key}"
        if prefix in OF_A_PERSON and key not in target:
            continue
        both = isinstance(value, dict) and isinstance(target.get(key), dict)
        if both and key not in WHOLE:
            yield from _merge(target[key], value, f"{path}.")
        elif target.get(key) != value:
            yield f"{path}: {_plain(key, target.get(key))} -> {_plain(key, value)}"
            target[key] = value


def _plain(key: str, value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return f"{len(value)} {'ranges' if key == 'space' else 'values'}"
