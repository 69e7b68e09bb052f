"""The paths of a repository."""

import os
from dataclasses import dataclass
from pathlib import Path

from latentlab.common.errors import ParamsError

FOREACH_STAGES = ("compare",)
"""Stages with several entries in `params.yaml`, each with its own subfolder of outputs."""


def profile_name(dataset: str) -> str:
    """Return the name of the profile of a dataset; profiles name files, which contain no `/`."""
    return dataset.replace("/", "-")


@dataclass(frozen=True)
class Project:
    """The paths of a repository, relative to its `root`.

    `home` contains the MLflow runs and the checkpoints. It differs from `root` only during
    `dvc exp run --temp`, which works in a copy of the repository.
    """

    root: Path
    home: Path

    @property
    def params(self) -> Path:
        """The file with all settings."""
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """Folder of the raw data, tracked by `data.dvc`."""
        return self.root / "data"

    @property
    def profiles(self) -> Path:
        """Folder of the profiles, which `latentlab profile` merges into `params.yaml`."""
        return self.root / "profiles"

    def checkpoints(self, stage: str, fingerprint: str) -> Path:
        """Return the folder of the training states of a stage with this fingerprint."""
        return self.home / ".latentlab" / "checkpoints" / f"{stage}-{fingerprint[:20]}"

    def study(self, stage: str, fingerprint: str, trials: int) -> Path:
        """Return the folder of the study record of a stage with this fingerprint."""
        return self.home / ".latentlab" / "studies" / f"{stage}-{fingerprint[:20]}-{trials}"

    def output_folders(self) -> list[Path]:
        """Return the existing output folders of all stages, sorted by name."""
        folders: list[Path] = []
        for folder in sorted((self.root / "outputs").glob("*/")):
            folders += sorted(folder.glob("*/")) if folder.name in FOREACH_STAGES else [folder]
        return folders

    def outputs(self, stage: str) -> Path:
        """Return the folder to which a stage writes its outputs."""
        return self.root / "outputs" / stage


def find_project() -> Project:
    """Return the repository of the working directory: the nearest parent with a `dvc.yaml`.

    Raises ParamsError outside a repository.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            # DVC sets DVC_ROOT to the repository in which the user started it
            return Project(folder, Path(os.environ.get("DVC_ROOT", folder)))
    raise ParamsError(f"no dvc.yaml in {here} or its parents. Run latentlab inside its repository.")
