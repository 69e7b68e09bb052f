"""Whether outputs, parameters, code and data agree, as DVC sees it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import ParamsError
from latentlab.gate.outputs import REPORT
from latentlab.params.yaml_io import read_plain

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

MAX_CAUSES = 3
"""Causes that are listed for each stage."""


def find_stale(root: Path) -> list[str]:
    """Return one line for each stage that DVC would run again: its name and the causes.

    DVC does not look at frozen stages and at inputs that `dvc.yaml` no longer names, so such stages
    are returned too. The report is left out: it shows the verdict, so accepting a baseline makes it
    stale.

    Raises ParamsError if DVC cannot compare them, for example because it is running the pipeline.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        # DVC writes paths relative to the working directory
        with chdir(root), Repo(".") as repo:
            status: dict[str, list[Any]] = repo.status()
            stages = [each for each in repo.index.stages if isinstance(each, PipelineStage)]
            locked = read_plain(root / "dvc.lock").get("stages", {})
            for stage in stages:
                if unseen := list(_unseen(stage, locked.get(stage.name) or {})):
                    status.setdefault(stage.name, []).extend(unseen)
    except DvcException as error:
        raise ParamsError(
            f"DVC cannot tell whether the outputs are current: {error}. Fix this, or use --stale-ok"
        ) from None
    status.pop(REPORT, None)
    return [f"{stage}: {_shorten(list(_causes(changes)))}" for stage, changes in status.items()]


def _unseen(stage: PipelineStage, locked: dict[str, Any]) -> Iterator[str]:
    """Yield the causes that DVC's status of a stage lacks; `locked` is its entry in `dvc.lock`."""
    if stage.frozen:
        yield f"frozen, so that it never runs (`dvc unfreeze {stage.name}`)"
    paths = {str(dep.def_path) for dep in stage.deps}
    names = {f"{dep.def_path}: {name}" for dep in stage.params for name in dep.params}
    used = [str(dep.get("path")) for dep in locked.get("deps", [])]
    used += [
        f"{path}: {name}" for path, values in locked.get("params", {}).items() for name in values
    ]
    yield from (f"{each} removed from dvc.yaml" for each in used if each not in paths | names)


def check_current(root: Path) -> None:
    """Raise ParamsError, with stages and causes, if the outputs are not current."""
    if not (root / "dvc.lock").is_file():
        raise ParamsError(f"{root / 'dvc.lock'} is missing; run `dvc repro` first")
    if stale := find_stale(root):
        raise ParamsError(
            "the outputs do not belong to the current parameters, code and data; run `dvc repro` "
            "first, or use --stale-ok:\n  " + "\n  ".join(stale)
        )


def _causes(changes: list[Any]) -> Iterator[str]:
    """Yield the causes in DVC's status of a stage: `params.yaml: vae.beta modified`, for example.

    DVC reports mappings such as `{"changed deps": {"params.yaml": {"vae.beta": "modified"}}}`, or
    a text for a changed command.
    """
    for change in changes:
        if not isinstance(change, dict):
            yield str(change)
            continue
        for entries in change.values():
            for path, state in entries.items():
                if isinstance(state, dict):
                    yield from (f"{path}: {name} {how}" for name, how in state.items())
                else:
                    yield f"{path} {state}"


def _shorten(causes: list[str]) -> str:
    rest = len(causes) - MAX_CAUSES
    return ", ".join(causes[:MAX_CAUSES]) + (f" and {rest} more" if rest > 0 else "")
