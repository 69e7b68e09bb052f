"""What every stage has: its folder, its device, its dataset and its MLflow run."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentlab.data.image_set import DatasetInfo, ImageSet, load_info, load_split
from latentlab.files import write_json
from latentlab.params.schema import Params
from latentlab.project import Project
from latentlab.runtime import prepare
from latentlab.tracking.run import Run

ON_CPU = ("fetch", "evaluate")
"""Stages whose figures must not depend on where a model was trained."""


@dataclass(frozen=True)
class Stage:
    """One execution of a stage; `name` as in `dvc.yaml`, `key` from `identity.identify`."""

    name: str
    key: str
    project: Project
    params: Params
    device: torch.device
    run: Run

    @property
    def member(self) -> str:
        """Which of several it is: `latent_dim` of `compare@latent_dim`."""
        return self.name.partition("@")[2]

    @property
    def output(self) -> Path:
        """The folder this stage writes to."""
        return self.project.outputs(self.name.replace("@", "/"))

    @property
    def plots(self) -> Path:
        """The folder of its pictures."""
        return self.output / "plots"

    @property
    def seed(self) -> int:
        """The seed of everything random in it."""
        return self.params.runtime.seed

    def load_info(self) -> DatasetInfo:
        """What `fetch` wrote about the dataset; also told to MLflow."""
        info = load_info(self.project.outputs("fetch"))
        self.run.log_dataset(info)
        return info

    def load_split(self, split: str) -> ImageSet:
        """One split that `fetch` wrote."""
        return load_split(self.project.outputs("fetch"), split)

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.project.checkpoints(self.name, self.key)

    def forget_checkpoints(self) -> None:
        """Delete what nobody will go on with."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write `metrics.json`; tell MLflow the figures and keep the pictures there."""
        write_json(self.output / "metrics.json", metrics)
        self.run.log_metrics(metrics, step=metrics.get("epochs", 0))
        if self.plots.is_dir():
            self.run.log_files(self.plots)


def prepare_stage(name: str, key: str, project: Project, params: Params, run: Run) -> Stage:
    """Seed and set up this process for a stage; its run is told where it computes."""
    device = prepare(params.runtime)
    if name in ON_CPU:
        device = torch.device("cpu")
    run.set_tags({"device": str(device), "seed": params.runtime.seed})
    return Stage(name, key, project, params, device, run)
