"""What the search found, put in the place of each word `search`."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from latentlab.errors import EnvironmentProblem, ParamsError
from latentlab.params.schema import Params
from latentlab.params.values import resolve
from latentlab.project import Project


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
