"""The metrics in `outputs/`, named `<stage>/<split>/<metric>`."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.project import FOREACH_STAGES, Project
from latentlab.evaluation.examples import EXAMPLES
from latentlab.params.fields import flatten
from latentlab.params.yaml_io import read_plain

REPORT = "report"
"""The stage that writes the report and has no metrics."""


def read_metrics(project: Project, dataset: str, partial: bool = False) -> dict[str, Any]:
    """Return the metrics of all stages in `dvc.yaml`, named `<stage>/<split>/<metric>`.

    With `partial`, stages without an output folder are left out. Raises ParamsError if the outputs
    are not those of `dataset`, or if a stage did not finish.
    """
    name = read_dataset(project).get("name")
    if name != dataset:
        raise ParamsError(
            f"data.name = '{dataset}', but outputs/ contains the results of '{name}'; "
            "run `dvc repro` first"
        )
    values: dict[str, Any] = {}
    for folder in _declared_folders(project):
        source = folder / "metrics.json"
        if partial and not folder.is_dir():
            continue
        if not source.is_file():  # DVC removes it before the stage runs
            raise ParamsError(
                f"{source} is missing, because its stage did not finish; run `dvc repro` first"
            )
        stage = folder.relative_to(project.root / "outputs").as_posix()
        values |= flatten(_read_mapping(source), f"{stage}/", "/")
    return values


def output_examples(project: Project) -> Path:
    """Return the file with the results per test image; it need not exist."""
    return project.outputs("evaluate") / EXAMPLES


def read_dataset(project: Project) -> dict[str, Any]:
    """Return the content of `outputs/fetch/dataset.json`; raise ParamsError if it is missing."""
    description = project.outputs("fetch") / "dataset.json"
    if not description.is_file():  # in a fresh clone: metrics are in Git, this file is not
        raise ParamsError(f"{description} is missing; run `dvc repro` first")
    return _read_mapping(description)


def is_labeled(project: Project) -> bool:
    """Return whether the dataset in `outputs/` has class labels."""
    return read_dataset(project).get("classes") != []


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number; `true`, NaN and infinity are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def parse_json(text: str) -> Any:
    """Parse JSON; raise ValueError also for a key that occurs twice in one object."""
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _declared_folders(project: Project) -> Iterator[Path]:
    """Yield the output folder of each stage in `dvc.yaml` but the report.

    Other folders are left by entries that were removed, perhaps on another branch.
    """
    path = project.root / "dvc.yaml"
    stages, params = read_plain(path).get("stages"), read_plain(project.params)
    if not isinstance(stages, dict):
        raise ParamsError(f"{path} declares no stages; restore it with `git checkout dvc.yaml`")
    for name in stages:
        if name in FOREACH_STAGES:
            yield from (project.outputs(name) / entry for entry in params.get(name) or {})
        elif name != REPORT:
            yield project.outputs(name)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"the key '{key}' occurs twice")
        tree[key] = value
    return tree


def _read_mapping(source: Path) -> dict[str, Any]:
    try:
        tree = parse_json(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"{source}: not valid JSON: {error}; run `dvc repro` first") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{source}: must be a JSON object; run `dvc repro` first")
    return tree
