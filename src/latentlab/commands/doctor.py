"""`latentlab doctor`: checks of the repository and of the machine."""

import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from latentlab.common.errors import LatentlabError
from latentlab.common.project import Project

MIN_FREE_BYTES = 2 << 30
PACKAGES = ("torch", "mlflow", "optuna", "dvc", "scikit-learn", "matplotlib", "safetensors")


@dataclass(frozen=True)
class Finding:
    """The result of one check; `advice` is empty if there is no problem."""

    subject: str
    result: str
    advice: str = ""
    fatal: bool = False

    @property
    def line(self) -> str:
        """The finding as text, with the advice on a second line."""
        mark = "ok " if not self.advice else "BAD" if self.fatal else "?? "
        advice = f"\n      {self.advice}" if self.advice else ""
        return f"{mark} {self.subject}: {self.result}{advice}"


def examine(project: Project) -> list[Finding]:
    """Check everything that the pipeline needs, without changing anything.

    A check that fails to run becomes a fatal finding; the other checks still run.
    """
    checks = (_python, _packages, _device, _parameters, _data, _store, _disk, _git, _dvc)
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(project)
        except ImportError as error:
            findings.append(Finding(check.__name__[1:], str(error), "run `make`", fatal=True))
        except OSError as error:
            result = f"{error.filename}: {error.strerror}"
            advice = "ask the owner for read permission"
            findings.append(Finding(check.__name__[1:], result, advice, fatal=True))
    return findings


def repair(project: Project) -> None:
    """Let the default MLflow store find its artifacts in this checkout.

    Nothing is changed if the store is damaged; `examine` reports that.
    """
    from latentlab.tracking.local_store import adopt_artifacts

    with suppress(sqlite3.DatabaseError):
        adopt_artifacts(project)


def _python(project: Project) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if supported else "use Python 3.11, 3.12 or 3.13"
    yield Finding("Python", version, advice, fatal=not supported)


def _packages(project: Project) -> Iterator[Finding]:
    versions, missing = {}, []
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", f"missing {', '.join(missing)}", "run `make`", fatal=True)
        return
    locked = _locked_versions(project)
    different = [
        f"{name} {installed}, {locked[name]} in requirements.lock"
        for name, installed in versions.items()
        if installed.partition("+")[0] != locked.get(name, installed)
    ]
    if different:
        advice = "run `touch requirements.lock && make`, or ignore this if it is intended"
        yield Finding("packages", "; ".join(different), advice)
    else:
        result = ", ".join(f"{name} {installed}" for name, installed in versions.items())
        yield Finding("packages", result)


def _locked_versions(project: Project) -> dict[str, str]:
    lock = project.root / "requirements.lock"
    text = lock.read_text() if lock.is_file() else ""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


def _device(project: Project) -> Iterator[Finding]:
    import torch

    from latentlab.common.processes import available_cores
    from latentlab.models.device import select_device
    from latentlab.params.load import load_params

    try:
        requested = load_params(project.params).runtime.device
    except LatentlabError:  # the check of params.yaml reports it
        requested = "auto"
    try:
        device = select_device(requested)
    except LatentlabError as error:
        yield Finding("device", str(error), "set runtime.device to one of these", fatal=True)
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    yield Finding("device", f"{name}, {available_cores()} cores")


def _parameters(project: Project) -> Iterator[Finding]:
    from latentlab.params.load import load_params

    try:
        params = load_params(project.params)
    except LatentlabError as error:
        yield Finding("params.yaml", str(error), "correct these values", fatal=True)
    else:
        yield Finding("params.yaml", f"valid; dataset '{params.data.name}'")
        yield from _dataset(project, params.data.name)


def _dataset(project: Project, name: str) -> Iterator[Finding]:
    """Check that the dataset of params.yaml is present and intact, or can be downloaded."""
    from latentlab.data.catalog import KNOWN
    from latentlab.data.sources import check_files, find_local

    try:
        folder = find_local(name, project.data)
        if folder is not None and name in KNOWN:
            check_files(name, folder)
    except LatentlabError as error:
        advice = "restore the dataset, or set data.name to another one"
        yield Finding("dataset", str(error), advice, fatal=True)
    else:
        yield Finding("dataset", str(folder or f"{name} will be downloaded"))


def _data(project: Project) -> Iterator[Finding]:
    from latentlab.data.catalog import KNOWN

    if not project.data.is_dir():
        yield Finding("data", f"{project.data} is missing", "run `dvc pull data.dvc`", fatal=True)
        return
    names = sorted(sub.name for sub in project.data.iterdir() if sub.is_dir())
    shared = os.environ.get("LATENTLAB_DATA")
    if shared and not os.path.isdir(shared):
        advice = "set it to an existing folder, or unset it"
        yield Finding("LATENTLAB_DATA", f"{shared} is not a folder", advice, fatal=True)
    note = f"; datasets are also read from {shared}" if shared else ""
    remote = ", ".join(name for name in KNOWN if name not in names)
    yield Finding("data", f"in data/: {', '.join(names)}; can be downloaded: {remote}{note}")


def _store(project: Project) -> Iterator[Finding]:
    from latentlab.tracking.local_store import default_uri, other_artifact_folders
    from latentlab.tracking.spool import find_spools
    from latentlab.tracking.store import MAX_RUNS_COUNTED, count_runs, store_uri

    uri = store_uri(project)
    if spools := find_spools(project):
        result = f"runs not sent to their server: {len(spools)}, in {spools[0].folder.parent}"
        yield Finding("MLflow spool", result, "run `latentlab sync`")
    try:
        count = count_runs(project)
        at_least = "at least " if count == MAX_RUNS_COUNTED else ""
        yield Finding("MLflow store", f"{uri}, {at_least}{count} runs")
        if uri == default_uri(project) and (folders := other_artifact_folders(project)):
            result = f"this checkout was moved or copied; mlflow.db refers to {', '.join(folders)}"
            yield Finding("MLflow artifacts", result, "run `latentlab doctor --fix`")
    except LatentlabError as error:
        advice = (
            "unset MLFLOW_TRACKING_URI, start its server, or move a damaged mlflow.db elsewhere"
        )
        yield Finding("MLflow store", f"{uri}: {error}", advice, fatal=True)


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.root).free
    advice = "" if free > MIN_FREE_BYTES else "free some space; `dvc gc -w` deletes old outputs"
    yield Finding("disk", f"{free / 2**30:.1f} GiB free", advice)
    if not os.access(project.root, os.W_OK):
        advice = "ask the owner for write permission, or work in your own copy"
        yield Finding("folder", f"{project.root} is not writable", advice, fatal=True)


def _git(project: Project) -> Iterator[Finding]:
    """Check the Git repository: DVC requires it, and runs are tagged with the commit."""
    if shutil.which("git") is None:
        yield Finding("Git", "not installed", "install git", fatal=True)
    elif not (project.root / ".git").exists():
        advice = "clone the repository with Git; DVC does not work in an unpacked archive"
        yield Finding("Git", f"{project.root} is not a Git repository", advice, fatal=True)


def _dvc(project: Project) -> Iterator[Finding]:
    if not (project.root / ".dvc").is_dir():
        yield Finding("DVC", "no .dvc folder", "clone the repository with Git", fatal=True)
        return
    lock = project.root / ".dvc" / "tmp" / "rwlock"
    if lock.is_file() and lock.stat().st_size == 0:
        advice = f"a crash left an empty lock file; delete {lock}"
        yield Finding("DVC lock", "unreadable", advice, fatal=True)
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    status = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    if status.returncode != 0:
        lines = [line for line in status.stderr.splitlines() if line.strip()]
        result = lines[0] if lines else f"`dvc status` failed with exit code {status.returncode}"
        yield Finding("DVC pipeline", result, "correct what DVC reports", fatal=True)
    elif json.loads(status.stdout) == {}:
        yield Finding("DVC pipeline", "up to date")
    else:
        advice = (
            "run `dvc repro`; to restore the raw data alone, run `dvc pull data.dvc` (plain "
            "`dvc pull` fails, because no remote contains the outputs)"
        )
        yield Finding("DVC pipeline", "has stages to run", advice)
