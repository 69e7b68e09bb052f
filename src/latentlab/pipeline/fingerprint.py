"""Fingerprints: one hash of everything that determines the result of a stage.

`dvc.yaml` is the only definition of what that is. The fingerprint hashes exactly the dependencies
and parameters that it declares, so a checkpoint is valid as long as DVC considers the stage
unchanged.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.files import hash_tree, sha256_of
from latentlab.common.project import Project
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params
from latentlab.params.yaml_io import read_plain

SOURCE = Path(__file__).parents[2]
"""The folder of the running package, `src` in a checkout."""

PIXELS = ("data", "outputs/fetch/train", "outputs/fetch/validation", "outputs/fetch/test")
"""Dependencies that are not read, because `outputs/fetch/dataset.json` contains their hash."""


@dataclass(frozen=True)
class Declaration:
    """What `dvc.yaml` declares that a stage reads: paths, and values of parameters by name."""

    deps: list[str]
    params: dict[str, Any]


def declaration_of(project: Project, stage: str, params: Params) -> Declaration:
    """Return what `dvc.yaml` declares for a stage, which is a name in it or `compare@<name>`.

    Raises ParamsError if there is no such stage, or no parameter of a declared name.
    """
    group, _, member = stage.partition("@")
    pipeline = project.root / "dvc.yaml"
    try:
        declared = read_plain(pipeline)["stages"][group]
        declared = declared.get("do", declared)
        names = [name.replace("${key}", member) for name in declared["params"]]
        tree = params.tree()
        return Declaration(declared["deps"], {name: _value(tree, name) for name in names})
    except KeyError as missing:
        raise ParamsError(
            f"{pipeline} does not declare the stage {stage} with existing parameters "
            f"(missing: {missing}); restore it with `git checkout dvc.yaml`"
        ) from None


def stage_fingerprint(project: Project, stage: str, params: Params) -> str:
    """Return the hexadecimal SHA-256 of a stage's deps and params in `dvc.yaml`, and of torch.

    Raises ParamsError as `declaration_of`.
    """
    declared = declaration_of(project, stage, params)
    payload = {
        "stage": stage,
        "params": list(declared.params.values()),
        "dependencies": [
            hash_tree(_path(project, dep)) for dep in declared.deps if dep not in PIXELS
        ],
        "torch": version("torch"),
    }
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def outputs_hash(folder: Path) -> str:
    """Return the hexadecimal SHA-256 of the names and contents of a stage's outputs.

    Hidden files, such as the `.gitignore` that DVC writes, are left out.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    content = [
        [file.relative_to(folder).as_posix(), sha256_of(file)]
        for file in files
        if not file.name.startswith(".")
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def study_folder(project: Project, stage: str, section: str, params: Params) -> Path:
    """Return the folder of the study in `section`; its name identifies everything it depends on.

    The number of trials is part of the name. The tolerance and the settings of trainings that use
    the result are not, because they do not change any trial.
    """
    ignored: dict[str, Any] = {f"{section}.trials": 1, f"{section}.tolerance": 0.0}
    if section == "finetune.search" and params.finetune.search is not None:
        budget: dict[str, Any] = {"epochs": params.finetune.search.epochs, "patience": None}
        after = budget | {"label_efficiency": None, "scratch_baseline": False}
        if "finetune.prune_epochs" in params.finetune.search.space:
            after["prune_epochs"] = [1]  # each trial sets its own
        ignored |= {f"finetune.{name}": value for name, value in after.items()}
    fingerprint = stage_fingerprint(project, stage, with_values(params, ignored))
    study = params.search if section == "search" else params.finetune.search
    # the order of ranges decides what is sampled, the order of objectives which one is first
    in_order = [list(study.space), list(study.objectives)] if study is not None else []
    trials = study.trials if study is not None else 0
    payload = json.dumps([fingerprint, in_order]).encode()
    return project.study(stage, hashlib.sha256(payload).hexdigest(), trials)


def similar_studies(folder: Path) -> list[Path]:
    """Return the studies that differ from the one in `folder` only by their number of trials."""
    name, _, _ = folder.name.rpartition("-")
    return [other for other in sorted(folder.parent.glob(f"{name}-*")) if other != folder]


def _path(project: Project, dependency: str) -> Path:
    """Return the path of a dependency; source code is the code that is running."""
    if dependency.startswith("src/"):
        return SOURCE / dependency.removeprefix("src/")
    return project.root / dependency


def _value(tree: dict[str, Any], path: str) -> Any:
    """Return the value at a dotted path; raise KeyError if there is none."""
    for name in path.split("."):
        tree = tree[name]
    return tree
