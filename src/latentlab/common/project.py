"""Where things are in a checkout."""

import os
from dataclasses import dataclass
from pathlib import Path

from latentlab.common.errors import ParamsError

FOREACH_STAGES = ("compare",)
"""Stages of which `params.yaml` may hold several, each with a folder in that of the stage."""


@dataclass(frozen=True)
class Project:
    """A checkout: every path of the pipeline follows from its root.

    `home` keeps the runs. It is the root, but for `dvc exp run --temp`: that works in a copy, and
    its runs belong beside all others.
    """

    root: Path
    home: Path

    @property
    def params(self) -> Path:
        """The file of every knob."""
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """Raw data, pinned by `data.dvc`."""
        return self.root / "data"

    @property
    def baselines(self) -> Path:
        """Accepted metrics, one file per dataset."""
        return self.root / "baselines"

    @property
    def profiles(self) -> Path:
        """Settings per dataset, to merge into `params.yaml`."""
        return self.root / "profiles"

    def checkpoints(self, stage: str, fingerprint: str) -> Path:
        """Where a stage keeps the state of its trainings while it runs; `fingerprint` decides them."""
        return self.home / ".latentlab" / "checkpoints" / f"{stage}-{fingerprint[:20]}"

    def study(self, stage: str, fingerprint: str, trials: int) -> Path:
        """Where a study of a stage is kept, also when it is complete; `fingerprint` decides its trials."""
        return self.home / ".latentlab" / "studies" / f"{stage}-{fingerprint[:20]}-{trials}"

    def output_folders(self) -> list[Path]:
        """The folder of every stage that wrote anything, in alphabetical order."""
        folders: list[Path] = []
        for folder in sorted((self.root / "outputs").glob("*/")):
            folders += sorted(folder.glob("*/")) if folder.name in FOREACH_STAGES else [folder]
        return folders

    def outputs(self, stage: str) -> Path:
        """What a stage writes; nothing else writes there."""
        return self.root / "outputs" / stage


def find_project() -> Project:
    """The checkout around the working directory: the nearest folder with a `dvc.yaml`."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            # DVC names the checkout in which the person typed the command
            return Project(folder, Path(os.environ.get("DVC_ROOT", folder)))
    raise ParamsError(f"no dvc.yaml in {here} or above it; run inside a latentlab repository")
