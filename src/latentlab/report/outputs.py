"""The outputs of the pipeline as the report reads them."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import read_json
from latentlab.common.project import FOREACH_STAGES, Project
from latentlab.data.image_set import DatasetInfo, load_info
from latentlab.evaluation.class_keys import class_keys
from latentlab.evaluation.examples import EXAMPLES, read_examples
from latentlab.params.schema import Params
from latentlab.report.charts.lines import Series
from latentlab.report.text import class_name

STAGES = "search", "train", "vae", "gan", "evaluate"
"""Stages whose metrics the report reads, apart from those with several entries."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Outputs:
    """Everything in `folder` that the report shows, and the parameters that produced it.

    `metrics` is the content of `metrics.json` by stage, such as `train` or `compare/depth`.
    `calibration` has the bins that `calibration_bins` returns; without labels it is empty.
    """

    folder: Path
    params: Params
    info: DatasetInfo
    metrics: dict[str, dict[str, Any]]
    calibration: list[dict[str, float]]

    @property
    def test(self) -> dict[str, Any]:
        """The metrics of the test split by model."""
        metrics: dict[str, Any] = self.metrics["evaluate"]["test"]
        return metrics

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes as they are shown; unlabeled images have none."""
        return [class_name(name) for name in self.info.classes]

    def pair(self, key: str) -> tuple[str, str]:
        """Return the names of both ends of an interpolation, whose key is `<start>_to_<end>`."""
        names = dict(zip(class_keys(self.info.classes), self.classes, strict=True))
        pairs = ((start, key.removeprefix(f"{start}_to_")) for start in names)
        found = ((names[start], names[end]) for start, end in pairs if end in names)
        start, _, end = key.partition("_to_")  # clusters
        return next(found, (start, end))

    def labels(self, split: str) -> np.ndarray:
        """Return the class indices [N] of a split."""
        labels: np.ndarray = np.load(self.folder / "fetch" / split / "labels.npy")
        return labels

    def table(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a CSV file; it is empty if its stage was skipped."""
        with (self.folder / path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def pictures(self, *paths: str) -> list[Path]:
        """Return those of some pictures that exist; which ones do depends on the parameters."""
        return [path for path in (self.folder / name for name in paths) if path.is_file()]

    def curves(self, path: str, columns: dict[str, str]) -> list[Series]:
        """Return columns of a table over the epochs; `columns` maps them to their names."""
        rows = self.table(path)
        return [
            Series(
                name,
                [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column)],
                color,
                dashed=column.startswith("train/"),
                marker=False,
            )
            for color, (column, name) in enumerate(columns.items())
        ]

    @cached_property
    def per_image(self) -> dict[str, np.ndarray]:
        """Results [N] per test image by metric, such as `autoencoder/mse`."""
        values = read_examples(self.folder / "evaluate" / EXAMPLES).values
        return {name.removeprefix("evaluate/test/"): each for name, each in values.items()}

    def findings(self) -> list[str]:
        """Return the problems that stages found in their trainings, with advice."""
        files = sorted(self.folder.glob("*/diagnosis.json"))
        found = [finding for file in files for finding in read_json(file)["findings"]]
        return [f"{each['section']}: {each['text']}; {each['advice']}." for each in found]


def load_outputs(
    project: Project, params: Params, calibration: Iterable[dict[str, float]]
) -> Outputs:
    """Load the outputs of all stages but the report.

    Raises EnvironmentProblem if a stage has none.
    """
    folder = project.root / "outputs"
    entries = [f"{name}/{entry}" for name in FOREACH_STAGES for entry in getattr(params, name)]
    files = {stage: folder / stage / "metrics.json" for stage in (*STAGES, *entries)}
    if missing := [stage for stage, file in files.items() if not file.is_file()]:
        raise EnvironmentProblem(
            f"{folder} has no results of {', '.join(missing)}; run `dvc repro` first"
        )
    metrics = {stage: read_json(file) for stage, file in files.items()}
    return Outputs(folder, params, load_info(project.outputs("fetch")), metrics, list(calibration))
