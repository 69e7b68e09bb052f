"""What decides the result of a stage, as one hash: its parameters, its inputs and the code."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentlab.errors import ParamsError
from latentlab.files import sha256_of
from latentlab.params.schema import Params
from latentlab.params.values import with_values
from latentlab.params.yaml_files import read_plain
from latentlab.project import Project

PACKAGE = Path(__file__).parent
PIXELS = ("data", "outputs/fetch/train", "outputs/fetch/validation", "outputs/fetch/test")
"""Not read: `outputs/fetch/dataset.json` has their hash."""


def identify(project: Project, stage: str, params: Params) -> str:
    """Hexadecimal SHA-256 of all that `dvc.yaml` declares for a stage, of the package, of torch.

    `stage` is a name in `dvc.yaml`, or `compare@<name>`.
    """
    group, _, member = stage.partition("@")
    pipeline = project.root / "dvc.yaml"
    try:
        declared = read_plain(pipeline)["stages"][group]
        declared = declared.get("do", declared)
        names = [name.replace("${key}", member) for name in declared["params"]]
        values = [_value(params.tree(), name) for name in names]
    except KeyError as missing:
        raise ParamsError(
            f"{pipeline} does not declare the stage {stage} with parameters that there are "
            f"(no {missing}); `git checkout dvc.yaml` brings it back"
        ) from None
    inputs = [dep for dep in declared["deps"] if dep not in PIXELS and not dep.startswith("src/")]
    made_of = {
        "stage": stage,
        "params": values,
        "inputs": [_digest(project.root / dep) for dep in inputs],
        "code": code_hash(),
        "torch": version("torch"),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def study_folder(project: Project, stage: str, section: str, params: Params) -> Path:
    """Where the study of a stage is kept: decided by all that decides its trials, and their number.

    Neither the tolerance does by which one of them is chosen, nor what is trained with the values
    that were found.
    """
    same = {f"{section}.trials": 1, f"{section}.tolerance": 0.0}
    if section == "finetune.search" and params.finetune.search is not None:
        budget = {"epochs": params.finetune.search.epochs, "patience": None}
        after = budget | {"labels": None, "control": False}
        if "finetune.prune_epochs" in params.finetune.search.space:
            after["prune_epochs"] = [1]  # each trial has its own; these may be beyond its budget
        same |= {f"finetune.{name}": value for name, value in after.items()}
    key = identify(project, stage, with_values(params, same))
    study = params.search if section == "search" else params.finetune.search
    # their order decides what is drawn, and which objective is the first
    in_order = [list(study.space), list(study.objectives)] if study is not None else []
    trials = study.trials if study is not None else 0
    made_of = json.dumps([key, in_order]).encode()
    return project.study(stage, hashlib.sha256(made_of).hexdigest(), trials)


def studies_like(folder: Path) -> list[Path]:
    """The studies beside that in `folder` which differ from it in their number of trials alone."""
    key, _, _ = folder.name.rpartition("-")
    return [other for other in sorted(folder.parent.glob(f"{key}-*")) if other != folder]


def code_hash() -> str:
    """Hexadecimal SHA-256 of the source of the package."""
    return hashlib.sha256("\n".join(_digest(PACKAGE)).encode()).hexdigest()


def _value(tree: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def _digest(path: Path) -> list[str]:
    """The name and hash of a file, or of every file in a folder that is not compiled code."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        f"{file.relative_to(path.parent).as_posix()} {sha256_of(file)}"
        for file in files
        if "__pycache__" not in file.parts and file.is_file()
    ]
