"""Facts that identify one execution of a stage: its process, its commit and its changes."""

import getpass
import os
import subprocess
from typing import Any
from uuid import uuid4

from latentlab.common.processes import this_process
from latentlab.common.project import Project

PROCESS_TAGS = ("host", "pid", "started", "execution")
"""Tags that identify the process that logs a run, and what it executes.

A process that is gone is noticed by `store.end_abandoned_runs`.
"""

DIFF = "git_diff.patch"
"""Artifact with the uncommitted changes of the work tree."""


def execution_tags(project: Project, stage: str, dataset: str, fingerprint: str) -> dict[str, Any]:
    """Return the tags of the run of a stage that this process executes now."""
    tags = {
        "stage": stage,
        "dataset": dataset,
        "kind": "stage",
        "fingerprint": fingerprint,
        "mlflow.user": _user(),
        "mlflow.source.name": f"latentlab {stage.replace('@', ' ')}",
        "mlflow.source.type": "LOCAL",
    }
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc_exp_name"] = os.environ["DVC_EXP_NAME"]
    tags |= {name: str(value) for name, value in this_process().items()}
    return tags | _git_commit(project) | {"execution": uuid4().hex}


def _user() -> str:
    """Return the name of the user; containers may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _git_commit(project: Project) -> dict[str, str]:
    """Return tags with the commit of the checkout; none if it is not a Git repository."""
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit = result.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}


def uncommitted_changes(project: Project) -> str | None:
    """Return the difference between the work tree and the commit; None if there is none.

    Files that `dvc repro` itself writes are left out, and new files are not part of the text.
    """
    paths = ["--", ".", ":!dvc.lock", ":!outputs"]
    git = ["git", "-C", str(project.root)]
    try:
        status, diff = (
            subprocess.run([*git, *command, *paths], capture_output=True, text=True, check=True)
            for command in (["status", "--porcelain"], ["diff", "HEAD"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return diff.stdout if status.stdout else None
