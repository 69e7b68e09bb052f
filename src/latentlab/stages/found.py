"""What the search found, put in the place of each word `search`."""

from ruamel.yaml import YAML

from latentlab.errors import EnvironmentProblem
from latentlab.params import Params, resolve
from latentlab.stages.stage import Stage


def resolved_params(stage: Stage) -> Params:
    """The parameters of a stage without the word `search`."""
    source = stage.project.outputs("search") / "best_params.yaml"
    try:
        found = YAML(typ="safe").load(source.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro search` first") from None
    missing = [path for path in stage.params.searched if path not in found]
    if missing:
        raise EnvironmentProblem(
            f"{source} has no value for {', '.join(missing)}; run `dvc repro search` again"
        )
    return resolve(stage.params, found)
