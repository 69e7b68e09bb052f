"""Clones of this repository in which benchmarks run the pipeline, and commands in them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRIVATE = ("DVC_", "MLFLOW_", "GITHUB_")
"""Beginnings of the environment variables that would send results to places of the user."""


def update_clone(root: Path, folder: Path) -> str:
    """Clone a repository with its data, or update the clone; return the commit, which is HEAD.

    Files in the clone that Git does not track stay.
    """
    if not folder.exists():
        output_of("git", "clone", "--quiet", "--no-checkout", str(root), str(folder), folder=root)
    output_of("git", "fetch", "--quiet", str(root), "HEAD", folder=folder)
    commit = output_of("git", "rev-parse", "FETCH_HEAD", folder=folder).strip()
    output_of("git", "checkout", "--quiet", "--force", "--detach", commit, folder=folder)
    output_of(sys.executable, "-m", "dvc", "pull", "--quiet", "data.dvc", folder=folder)
    return commit


def output_of(*command: str, folder: Path, allowed: tuple[int, ...] = (0,)) -> str:
    """Return what a command prints in a clone, whose sources it uses.

    Raises SystemExit if its exit code is not allowed.
    """
    own = {name: os.environ[name] for name in os.environ if not name.startswith(PRIVATE)}
    first = {"PATH": Path(sys.executable).parent, "PYTHONPATH": folder / "src"}
    paths = {name: f"{first[name]}{os.pathsep}{own.get(name, '')}" for name in first}
    done = subprocess.run(command, cwd=folder, env=own | paths, capture_output=True, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout
