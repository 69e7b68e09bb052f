"""What every stage has: its folder, its device, its dataset and its MLflow run."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentlab.common.files import write_json
from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.data.image_set import DatasetInfo, ImageSet, load_info, load_split
from latentlab.models.device import prepare
from latentlab.params.fields import flatten
from latentlab.params.schema import Params
from latentlab.tracking.run import Run

ON_CPU = ("fetch", "evaluate")
"""Stages whose figures must not depend on where a model was trained."""

JUDGED_ON = {"validation", "test"}
TOLD = 4
"""Figures that a stage says at its end."""


@dataclass(frozen=True)
class StageContext:
    """One execution of a stage; `name` as in `dvc.yaml`, `fingerprint` from `pipeline.fingerprint`."""

    name: str
    fingerprint: str
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
        return self.project.checkpoints(self.name, self.fingerprint)

    def delete_checkpoints(self) -> None:
        """Delete what nobody will go on with."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write `metrics.json` and say its first figures; MLflow gets all, and the pictures."""
        path = self.output / "metrics.json"
        write_json(path, metrics)
        note(f"{self.name}: {_in_short(metrics)}; {path.relative_to(self.project.root)}")
        self.run.log_metrics(metrics, step=metrics.get("epochs", 0))
        if self.plots.is_dir():
            self.run.log_files(self.plots)


def _in_short(metrics: dict[str, Any]) -> str:
    """The first figures on held-out images, or of all where there are none, and how many follow."""
    figures = flatten(metrics, separator="/")
    judged = [name for name in figures if JUDGED_ON.intersection(name.split("/")[:-1])]
    told = (judged or list(figures))[:TOLD]
    words = [f"{name} {_number(figures[name])}" for name in told]
    if more := len(figures) - len(told):
        words.append(f"{more} more")
    return ", ".join(words) or "no figures"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def prepare_stage(
    name: str, fingerprint: str, project: Project, params: Params, run: Run
) -> StageContext:
    """Seed and set up this process for a stage; its run is told where it computes."""
    device = prepare(params.runtime)
    if name in ON_CPU:
        device = torch.device("cpu")
    run.set_tags({"device": str(device), "seed": params.runtime.seed})
    return StageContext(name, fingerprint, project, params, device, run)
