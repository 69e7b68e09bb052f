"""Replacing the word `search` by the value that the stage `search` found."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.project import Project
from latentlab.params.messages import first_error
from latentlab.params.schema import Params


def resolved_params(project: Project, params: Params) -> Params:
    """Return the parameters with the values in `outputs/search/best_params.yaml`.

    Raises EnvironmentProblem if the file is missing, damaged or incomplete, and ParamsError if its
    values do not fit the other parameters.
    """
    if not params.searched:
        return params
    source = project.outputs("search") / "best_params.yaml"
    if not source.exists():
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro search` first")
    best = _read(source)
    missing = [path for path in params.searched if path not in best]
    if missing:
        raise EnvironmentProblem(
            f"{source} has no value for {', '.join(missing)}; run `dvc repro search` again"
        )
    try:
        return resolve(params, best)
    except ValueError as unfit:
        raise ParamsError(
            f"{project.params} does not fit the values in {source}: {unfit}; change params.yaml, "
            "or run `dvc repro search` again"
        ) from None


def _read(source: Path) -> dict[str, Any]:
    try:
        best = YAML(typ="safe").load(source.read_text(encoding="utf-8")) or {}
    except (YAMLError, ValueError):  # not YAML, not UTF-8
        best = None
    if not isinstance(best, dict):
        raise EnvironmentProblem(
            f"{source} is damaged; delete it and run `dvc repro search` to restore it"
        )
    return best


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """Return a validated copy of `params` with other values, given as `{path: value}`.

    Raises ValueError if a value is invalid or the values do not fit each other.
    """
    tree = params.tree()
    for path, value in values.items():
        *parents, leaf = path.split(".")
        section = tree
        for name in parents:
            section = section[name]
        section[leaf] = value
    try:
        return Params.model_validate(tree)
    except ValidationError as invalid:
        raise ValueError(first_error(invalid)) from None


def resolve(params: Params, best: dict[str, Any]) -> Params:
    """Return a copy of `params` in which each word `search` is replaced by its value in `best`."""
    return with_values(params, {path: best[path] for path in params.searched})
