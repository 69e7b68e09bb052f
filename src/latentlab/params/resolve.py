"""What the search found, put in the place of each word `search`."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.project import Project
from latentlab.params.messages import first_refusal
from latentlab.params.schema import Params


def resolved_params(project: Project, params: Params) -> Params:
    """The parameters without the word `search`; EnvironmentProblem where nothing was found yet."""
    if not params.searched:
        return params
    source = project.outputs("search") / "best_params.yaml"
    if not source.exists():
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro search` first")
    found = _read(source)
    missing = [path for path in params.searched if path not in found]
    if missing:
        raise EnvironmentProblem(
            f"{source} has no value for {', '.join(missing)}; run `dvc repro search` again"
        )
    try:
        return resolve(params, found)
    except ValueError as unfit:
        raise ParamsError(
            f"{project.params} does not go with what {source} has: {unfit}; change the one, or "
            "run `dvc repro search` again"
        ) from None


def _read(source: Path) -> dict[str, Any]:
    try:
        found = YAML(typ="safe").load(source.read_text(encoding="utf-8")) or {}
    except (YAMLError, ValueError):  # no YAML, no UTF-8
        found = None
    if not isinstance(found, dict):
        raise EnvironmentProblem(
            f"{source} is damaged; delete it, and `dvc repro search` brings it back"
        )
    return found


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """A copy of `params` with the values at dotted paths replaced, validated anew.

    ValueError says what is wrong with values that do not go together.
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
        raise ValueError(first_refusal(invalid)) from None


def resolve(params: Params, found: dict[str, Any]) -> Params:
    """Replace each word `search` by the value that the study found for it."""
    return with_values(params, {path: found[path] for path in params.searched})
