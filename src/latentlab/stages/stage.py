"""What every stage has: its folder, its device, its dataset and its MLflow run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentlab.data.image_set import DatasetInfo, ImageSet, load_info, load_split
from latentlab.files import write_csv, write_json
from latentlab.params import Params
from latentlab.progress import progress_bar
from latentlab.project import Project
from latentlab.runtime import prepare
from latentlab.tracking.run import Run
from latentlab.training.record import Record

ON_CPU = ("fetch", "evaluate")
"""Stages whose figures must not depend on where a model was trained."""


@dataclass(frozen=True)
class Stage:
    """One execution of a stage."""

    name: str
    project: Project
    params: Params
    device: torch.device
    run: Run

    @property
    def output(self) -> Path:
        """The folder this stage writes to."""
        return self.project.outputs(self.name)

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

    def follow(self, epochs: Iterable[Record], total: int) -> None:
        """Run a training to its end, each epoch shown and told to MLflow."""
        with progress_bar(self.name, total, "epochs") as bar:
            for record in epochs:
                self.run.log_epoch(record)
                bar.advance(1)

    def write_history(self, history: list[Record]) -> None:
        """Write the learning curve, one row per epoch."""
        write_csv(self.output / "history.csv", history)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write `metrics.json`; tell MLflow the figures and keep the pictures there."""
        write_json(self.output / "metrics.json", metrics)
        self.run.log_metrics(metrics, step=metrics.get("epochs", 0))
        if self.plots.is_dir():
            self.run.log_files(self.plots)


def prepare_stage(name: str, project: Project, params: Params, run: Run) -> Stage:
    """Seed and set up this process for a stage; its run is told where it computes."""
    device = prepare(params.runtime)
    if name in ON_CPU:
        device = torch.device("cpu")
    run.set_tags({"device": str(device), "seed": params.runtime.seed})
    return Stage(name, project, params, device, run)


def count_parameters(model: torch.nn.Module, trained_only: bool = False) -> int:
    """Number of weights of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained_only)
