"""The context of a stage: its folders, its device, its dataset and its MLflow run."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentlab.common.errors import ParamsError
from latentlab.common.files import write_csv, write_json
from latentlab.common.progress import note, short
from latentlab.common.project import Project
from latentlab.data.augmentation import check_on_images, describe
from latentlab.data.image_set import DatasetInfo, ImageSet, load_info, load_split
from latentlab.models.device import prepare
from latentlab.models.io import TrainableModel
from latentlab.params.augmentation import augmentations
from latentlab.params.fields import flatten
from latentlab.params.schema import Params
from latentlab.pipeline.headlines import headline_metrics
from latentlab.tracking.run import Run

if TYPE_CHECKING:  # stages without models do not depend on evaluation and training
    from latentlab.pipeline.review import Review

ON_CPU = ("fetch", "evaluate", "report")
"""Stages that always run on the CPU, so that their metrics do not depend on the device."""

EXAMPLES = 2
"""Number of images in the input example of a logged model."""

SUMMARY_METRICS = 4
"""Number of metrics printed at the end of a stage."""


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
    def epoch_pictures(self) -> Path:
        """The folder of the pictures during this stage's training."""
        return self.output / "epochs"

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

    def log_model(
        self, model: TrainableModel, images: Tensor, info: DatasetInfo, epoch: int
    ) -> None:
        """Log the model in the output folder, with one or two of some images as an example.

        `epoch` is the one whose weights were kept.
        """
        example = images[:EXAMPLES]
        with torch.inference_mode():
            codes = model.latent_codes(example)
        self.run.log_model(self.output / "model", info, example, codes, epoch)

    def write_metrics(self, metrics: dict[str, Any], review: "Review | None" = None) -> None:
        """Write `metrics.json`, log it with plots and headline metrics, and print a summary.

        A `review` is printed and logged with it, and written to `diagnosis.json`.
        """
        path = self.output / "metrics.json"
        write_json(path, metrics)
        headlines = headline_metrics(self.name, metrics)
        below = self._write_review(review) if review else ""
        summary = f"{_summary(metrics, headlines)}{below and f'; below baseline: {below}'}"
        note(f"{self.name}: {summary}; {path.relative_to(self.project.root)}")
        self.run.log_headlines(headlines, step=metrics.get("epochs", 0))
        self.run.describe(headlines)
        for file in (path, self.plots):
            if file.exists():
                self.run.log_files(file)

    def _write_review(self, review: "Review") -> str:
        """Print the findings, log and write the review; return what is below its baseline."""
        for line in review.lines:
            note(line)
        self.run.set_tags(review.tags)
        write_json(self.output / "diagnosis.json", review.tree)
        return review.below_baseline

    def write_table(
        self, file: str, rows: list[dict[str, Any]], columns: Sequence[str] = ()
    ) -> None:
        """Write rows with equal keys as a CSV file to the output folder, and log them.

        `columns` is the header of a table without rows, which is not logged.
        """
        write_csv(self.output / file, rows, columns)
        if rows:
            self.run.log_table(file.removesuffix(".csv"), rows)


def _summary(metrics: dict[str, Any], headlines: dict[str, float]) -> str:
    """Return the first headline metrics, or the first of all, and the number of those left out."""
    values = flatten(metrics, separator="/")
    shown = list((headlines or values).items())[:SUMMARY_METRICS]
    parts = [f"{name} {short(value)}" for name, value in shown]
    if left_out := len(values) - len(shown):
        parts.append(f"{left_out} more")
    return ", ".join(parts) or "no metrics"


def prepare_stage(
    name: str, fingerprint: str, project: Project, params: Params, run: Run
) -> StageContext:
    """Set up the device, threads and seed of this process, and return the context of the stage."""
    device = prepare(params.runtime)
    if name in ON_CPU:
        device = torch.device("cpu")
    run.set_tags({"device": str(device), "seed": params.runtime.seed})
    run.log_files(project.params)
    stage = StageContext(name, fingerprint, project, params, device, run)
    check_augmentation(stage)
    return stage


def check_augmentation(stage: StageContext) -> None:
    """Apply the transforms of a stage to random images of the dataset.

    Raises ParamsError for a transform that does not work on them, before anything is trained.
    """
    verb = stage.name.partition("@")[0]
    lists = [] if verb == "fetch" else list(augmentations(stage.params, verb))
    shape = stage.load_info().image_shape if any(each for _, each in lists) else []
    for location, transforms in lists:
        for entry in transforms:
            try:
                check_on_images(entry, shape, stage.device, differentiable=verb == "gan")
            except ValueError as unfit:
                place = ".".join(map(str, location))
                raise ParamsError(
                    f"{stage.project.params}: {place}: {describe([entry])}: {unfit}"
                ) from None
