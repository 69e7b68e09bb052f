"""Where things are in a checkout."""

import os
from dataclasses import dataclass
from pathlib import Path

from latentlab.errors import ParamsError


@dataclass(frozen=True)
class Project:
    """A checkout: every path of the pipeline follows from its root."""

    root: Path

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

    def outputs(self, stage: str) -> Path:
        """What a stage writes; nothing else writes there."""
        return self.root / "outputs" / stage


def find_project() -> Project:
    """The checkout around the working directory: DVC names it, else the nearest `dvc.yaml` does."""
    here = Path.cwd()
    if "DVC_ROOT" in os.environ:
        return Project(Path(os.environ["DVC_ROOT"]))
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return Project(folder)
    raise ParamsError(f"no dvc.yaml in {here} or above it; run inside a latentlab repository")
