"""The examination of a checkout and its machine."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from latentlab.common.errors import LatentlabError
from latentlab.common.project import Project

FEWEST_FREE_BYTES = 2 << 30
PACKAGES = ("torch", "mlflow", "optuna", "dvc", "scikit-learn", "matplotlib", "safetensors")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `advice` is empty where all is well."""

    subject: str
    found: str
    advice: str = ""
    fatal: bool = False

    @property
    def line(self) -> str:
        """For a person."""
        mark = "ok " if not self.advice else "BAD" if self.fatal else "?? "
        return f"{mark} {self.subject}: {self.found}" + (
            f"\n      {self.advice}" * bool(self.advice)
        )


def examine(project: Project) -> list[Finding]:
    """Look at everything a run needs; nothing is changed."""
    looks = (_python, _packages, _device, _parameters, _data, _store, _disk, _git, _dvc)
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look(project)
        except ImportError as missing:
            findings.append(Finding(look.__name__[1:], str(missing), "run `make`", fatal=True))
        except OSError as error:
            said = f"{error.filename}: {error.strerror}"
            advice = "have its owner let you read it"
            findings.append(Finding(look.__name__[1:], said, advice, fatal=True))
    return findings


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
    others = [
        f"{name} {found}, {locked[name]} in requirements.lock"
        for name, found in versions.items()
        if found.partition("+")[0] != locked.get(name, found)
    ]
    if others:
        advice = "run `touch requirements.lock && make`, or keep them if they are meant"
        yield Finding("packages", "; ".join(others), advice)
    else:
        yield Finding("packages", ", ".join(f"{name} {found}" for name, found in versions.items()))


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
        wanted = load_params(project.params).runtime.device
    except LatentlabError:  # told below
        wanted = "auto"
    try:
        device = select_device(wanted)
    except LatentlabError as error:
        yield Finding("device", str(error), "write auto, or one that is there", fatal=True)
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    yield Finding("device", f"{name}, {available_cores()} cores")


def _parameters(project: Project) -> Iterator[Finding]:
    from latentlab.params.load import load_params

    try:
        params = load_params(project.params)
    except LatentlabError as error:
        yield Finding("params.yaml", str(error), "mend the lines above", fatal=True)
    else:
        yield Finding("params.yaml", f"valid; dataset '{params.data.name}'")
        yield from _dataset(project, params.data.name)


def _dataset(project: Project, name: str) -> Iterator[Finding]:
    """Whether the dataset of params.yaml is there, or can be."""
    from latentlab.data.catalogue import KNOWN
    from latentlab.data.sources import check_files, find

    try:
        found = find(name, project.data)
        if found is not None and name in KNOWN:
            check_files(name, found)
    except LatentlabError as error:
        advice = "mend it, or name another dataset in data.name"
        yield Finding("dataset", str(error), advice, fatal=True)
    else:
        yield Finding("dataset", str(found or f"{name} will be downloaded"))


def _data(project: Project) -> Iterator[Finding]:
    from latentlab.data.catalogue import KNOWN

    if not project.data.is_dir():
        yield Finding("data", f"{project.data} is missing", "run `dvc pull data.dvc`", fatal=True)
        return
    names = sorted(sub.name for sub in project.data.iterdir() if sub.is_dir())
    elsewhere = os.environ.get("LATENTLAB_DATA")
    if elsewhere and not os.path.isdir(elsewhere):
        advice = "name a folder that exists, or unset it"
        yield Finding("LATENTLAB_DATA", f"{elsewhere} is not a folder", advice, fatal=True)
    note = f"; also looked for in {elsewhere}" if elsewhere else ""
    data_dir = ", ".join(name for name in KNOWN if name not in names)
    yield Finding("data", f"in data/: {', '.join(names)}; can be downloaded: {data_dir}{note}")


def _store(project: Project) -> Iterator[Finding]:
    from latentlab.tracking.store import MOST_COUNTED, count_runs, store_uri

    uri = store_uri(project)
    try:
        count = count_runs(project)
        at_least = "at least " if count == MOST_COUNTED else ""
        yield Finding("MLflow store", f"{uri}, {at_least}{count} runs")
    except LatentlabError as error:
        advice = "unset MLFLOW_TRACKING_URI, start its server, or move a broken mlflow.db away"
        yield Finding("MLflow store", f"{uri}: {error}", advice, fatal=True)


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.root).free
    advice = "" if free > FEWEST_FREE_BYTES else "free some space; `dvc gc -w` drops old outputs"
    yield Finding("disk", f"{free / 2**30:.1f} GiB free", advice)
    if not os.access(project.root, os.W_OK):
        advice = "work in a copy that is yours, or have its owner let you write"
        yield Finding("folder", f"{project.root} cannot be written to", advice, fatal=True)


def _git(project: Project) -> Iterator[Finding]:
    """DVC finds its files by Git's, and runs are tagged with the commit."""
    if shutil.which("git") is None:
        yield Finding("Git", "not installed", "install git", fatal=True)
    elif not (project.root / ".git").exists():
        advice = "clone the repository with Git; an unpacked archive is no repository"
        yield Finding("Git", f"{project.root} is no repository", advice, fatal=True)


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
        said = [line for line in status.stderr.splitlines() if line.strip()] or ["it says nothing"]
        yield Finding("DVC pipeline", said[0], "mend what DVC says first", fatal=True)
    elif json.loads(status.stdout) == {}:
        yield Finding("DVC pipeline", "up to date")
    else:
        advice = (
            "run `dvc repro`; plain `dvc pull` would complain of outputs that no remote has, "
            "`dvc pull data.dvc` does not"
        )
        yield Finding("DVC pipeline", "has stages to run", advice)
