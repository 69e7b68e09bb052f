"""The context of a stage: its folders, its device, its dataset and its MLflow run."""

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
"""Stages that always run on the CPU, so that their metrics do not depend on the device."""

HELD_OUT_SPLITS = {"validation", "test"}
SUMMARY_METRICS = 4
"""Number of metrics printed at the end of a stage."""
DESCRIBED_METRICS = 10
"""Number of metrics in the description of an MLflow run."""


@dataclass(frozen=True)
class StageContext:
    """One execution of a stage.

    `name` is the name in `dvc.yaml`, such as `train` or `compare@latent_dim`. `fingerprint`
    comes from `pipeline.fingerprint`.
    """

    name: str
    fingerprint: str
    project: Project
    params: Params
    device: torch.device
    run: Run

    @property
    def member(self) -> str:
        """The entry of a foreach stage: `latent_dim` for `compare@latent_dim`, else empty."""
        return self.name.partition("@")[2]

    @property
    def output(self) -> Path:
        """The folder that this stage writes to."""
        return self.project.outputs(self.name.replace("@", "/"))

    @property
    def plots(self) -> Path:
        """The folder of this stage's plots."""
        return self.output / "plots"

    @property
    def seed(self) -> int:
        """The seed of all random numbers in this stage."""
        return self.params.runtime.seed

    def load_info(self) -> DatasetInfo:
        """Load the description of the dataset that `fetch` wrote, and log it to MLflow."""
        info = load_info(self.project.outputs("fetch"))
        self.run.log_dataset(info)
        return info

    def load_split(self, split: str) -> ImageSet:
        """Load one of the splits that `fetch` wrote, and log it to MLflow as an input."""
        folder = self.project.outputs("fetch")
        self.run.log_split(load_info(folder), split)
        return load_split(folder, split)

    @property
    def checkpoints(self) -> Path:
        """The folder of this stage's checkpoints."""
        return self.project.checkpoints(self.name, self.fingerprint)

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints of this stage."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def name_run(self, summary: str) -> None:
        """Name the MLflow run after the stage and the settings that distinguish its executions."""
        self.run.set_name(f"{self.name} {summary}")

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write `metrics.json`, log it with all values and plots to MLflow; print a summary."""
        path = self.output / "metrics.json"
        write_json(path, metrics)
        note(f"{self.name}: {_summary(metrics)}; {path.relative_to(self.project.root)}")
        self.run.log_metrics(metrics, step=metrics.get("epochs", 0))
        self.run.describe(_most_important(metrics, DESCRIBED_METRICS))
        for file in (path, self.plots):
            if file.exists():
                self.run.log_files(file)


def _most_important(metrics: dict[str, Any], count: int) -> dict[str, float]:
    """Return the first `count` metrics of held-out splits, or of all if there are none of these."""
    values = flatten(metrics, separator="/")
    held_out = [name for name in values if HELD_OUT_SPLITS.intersection(name.split("/")[:-1])]
    return {name: values[name] for name in (held_out or list(values))[:count]}


def _summary(metrics: dict[str, Any]) -> str:
    """Return the most important metrics and the number of those left out."""
    shown = _most_important(metrics, SUMMARY_METRICS)
    parts = [f"{name} {_format(value)}" for name, value in shown.items()]
    if left_out := len(flatten(metrics, separator="/")) - len(shown):
        parts.append(f"{left_out} more")
    return ", ".join(parts) or "no metrics"


def _format(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def prepare_stage(
    name: str, fingerprint: str, project: Project, params: Params, run: Run
) -> StageContext:
    """Set up the device, threads and seed of this process, and return the context of the stage."""
    device = prepare(params.runtime)
    if name in ON_CPU:
        device = torch.device("cpu")
    run.set_tags({"device": str(device), "seed": params.runtime.seed})
    run.log_files(project.params)
    return StageContext(name, fingerprint, project, params, device, run)
