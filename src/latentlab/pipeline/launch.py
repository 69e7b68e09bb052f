"""Launching a stage: its fingerprint, its MLflow run and its context.

Stages are imported by name, so that this module does not depend on any of them.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from latentlab.common import startup
from latentlab.common.errors import ParamsError
from latentlab.common.processes import rank, start_fork_server, world_size

if TYPE_CHECKING:
    from latentlab.common.project import Project
    from latentlab.params.schema import Params


def run_stage(project: Project, name: str, params: Params) -> None:
    """Run a stage as one MLflow run; `name` is as in `dvc.yaml` (`train`, `compare@latent_dim`).

    Raises ParamsError if `torchrun` starts several processes for a stage that uses only one.
    """
    verb = name.partition("@")[0]
    if world_size() > 1 and verb != "train":
        raise ParamsError(
            f"torchrun starts several processes, but only train uses them, not {verb}"
        )
    from latentlab.pipeline.fingerprint import outputs_hash, stage_fingerprint
    from latentlab.tracking.run import track

    if _uses_worker_processes(verb, params):
        start_fork_server()
    fingerprint = stage_fingerprint(project, name, params)
    if rank() > 0:
        _run_worker_rank(project, name, fingerprint, params)
        return
    with track(project, name, params.data.name, fingerprint) as run:
        # torch is imported here, while the recorder opens the store
        with startup.without_garbage_collection():
            from latentlab.pipeline.context import prepare_stage

            module = _stage_module(verb)
            stage = prepare_stage(name, fingerprint, project, params, run)
        module.run(stage)
        run.set_tags({"outputs_hash": outputs_hash(stage.output)})
    stage.delete_checkpoints()


def _run_worker_rank(project: Project, name: str, fingerprint: str, params: Params) -> None:
    """Train together with the main rank, which also writes and logs the results."""
    from latentlab.pipeline.context import prepare_stage
    from latentlab.tracking.run import NullRecorder, Run

    stage = prepare_stage(name, fingerprint, project, params, Run(NullRecorder()))
    _stage_module(name).run_worker_rank(stage)


def _stage_module(verb: str) -> ModuleType:
    return import_module(f"latentlab.stages.{verb}")


def _uses_worker_processes(verb: str, params: Params) -> bool:
    """Return whether a stage trains several networks in parallel."""
    if verb == "finetune":
        settings = params.finetune
        return bool(settings.scratch_baseline or settings.search or settings.label_efficiency)
    if verb == "train":
        return params.train.folds is not None
    return verb in ("search", "compare", "denoise")
