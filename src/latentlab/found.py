"""What the search found, put in the place of each word `search`."""

from ruamel.yaml import YAML

from latentlab.errors import EnvironmentProblem
from latentlab.params.schema import Params
from latentlab.params.values import resolve
from latentlab.project import Project


def resolved_params(project: Project, params: Params) -> Params:
    """The parameters without the word `search`; EnvironmentProblem where nothing was found yet."""
    if not params.searched:
        return params
    source = project.outputs("search") / "best_params.yaml"
    try:
        found = YAML(typ="safe").load(source.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro search` first") from None
    missing = [path for path in params.searched if path not in found]
    if missing:
        raise EnvironmentProblem(
            f"{source} has no value for {', '.join(missing)}; run `dvc repro search` again"
        )
    return resolve(params, found)
