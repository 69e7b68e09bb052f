"""Where the metrics in `outputs/` come from: profile, parameters, code, data and environment."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.project import Project, profile_name
from latentlab.gate.baseline import AcceptedRun
from latentlab.gate.outputs import REPORT, is_number, read_dataset
from latentlab.params.fields import flatten
from latentlab.params.yaml_io import read_plain

SEED = "runtime.seed"


def find_profile(project: Project) -> str:
    """Return the name of the profile to which the parameters belong.

    This is the profile of the dataset from which `params.yaml` differs in the fewest values, and of
    several such profiles the one with the most values. All profiles of a dataset are merged after
    the one with the name of the dataset. A dataset without a profile has its own name as its
    profile.
    """
    settings = flatten(read_plain(project.params))
    dataset = settings.get("data.name")
    if not isinstance(dataset, str):
        raise ParamsError(f"{project.params}: data.name is missing")
    own = profile_name(dataset)
    files = sorted(project.profiles.glob("*.yaml"))
    profiles = {file.stem: flatten(read_plain(file)) for file in files}
    base = profiles.get(own, {})
    candidates = {
        name: base | values
        for name, values in profiles.items()
        if values.get("data.name") == dataset
    }
    names = {key for values in candidates.values() for key in values}

    def distance(name: str) -> tuple[int, int, bool]:
        values = candidates[name]
        differing = sum(settings.get(key) != values[key] for key in names if key in values)
        return differing, differing - len(values), name != own

    return min(candidates, key=distance, default=own)


def describe_run(project: Project, params: dict[str, Any], metrics: dict[str, Any]) -> AcceptedRun:
    """Return the run in `outputs/` with its provenance; metrics that are no numbers are left out.

    `params` are the validated parameters. Processor and packages are those of this machine, on
    which the metrics are accepted; the device is the parameter, which may be `auto`.
    """
    commit = git(project.root, "rev-parse", "HEAD")
    changed = git(project.root, "status", "--porcelain", "--", "src", "params.yaml", "dvc.yaml")
    data = _data_digest(project)
    return AcceptedRun(
        seed=params["runtime"]["seed"],
        commit=commit.strip() if commit else None,
        dirty=None if changed is None else bool(changed.strip()),
        fingerprint=input_fingerprint(project.root, data),
        data=data,
        packages={name: version(name) for name in ("latentlab", "numpy", "torch")}
        | {"python": platform.python_version()},
        processor=_processor(),
        device=params["runtime"]["device"],
        metrics={name: value for name, value in metrics.items() if is_number(value)},
    )


def input_fingerprint(root: Path, data: str) -> str | None:
    """Return the SHA-256 of everything but the seed that determines the metrics, from `dvc.lock`.

    These are parameters, source code, raw data and the version of torch. Intermediate outputs are
    left out, because they depend on the seed. Returns None if there is no `dvc.lock`.
    """
    stages = locked_stages(root)
    if stages is None:
        return None
    inputs, values = locked_inputs(stages), locked_params(stages)
    payload = {
        "params": {name: value for name, value in values.items() if name != SEED},
        "sources": {path: digest for path, digest in inputs.items() if path.startswith("src/")},
        "data": data,
        "torch": version("torch"),
    }
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def locked_stages(root: Path) -> dict[str, Any] | None:
    """Return the stages in `dvc.lock` that have metrics, or None if the file does not exist."""
    path = root / "dvc.lock"
    if not path.is_file():
        return None
    stages = read_plain(path).get("stages", {})
    if not _is_lock(stages):
        raise ParamsError(f"{path} is not a lock file of DVC; restore it, or run `dvc repro`")
    return {name: stage for name, stage in stages.items() if name != REPORT}


def _is_lock(stages: Any) -> bool:
    """Return whether the stages of a lock file, and their dependencies, have the expected form."""
    return isinstance(stages, dict) and all(
        isinstance(stage, dict)
        and isinstance(stage.get("params", {}), dict)
        and isinstance(stage.get("deps", []), list)
        and all(
            isinstance(dep, dict) and {"path", "md5"} <= dep.keys() for dep in stage.get("deps", [])
        )
        for stage in stages.values()
    )


def locked_inputs(stages: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of all dependencies in `dvc.lock` that are no outputs, by path."""
    deps = [dep for stage in stages.values() for dep in stage.get("deps", [])]
    return {dep["path"]: dep["md5"] for dep in deps if not dep["path"].startswith("outputs/")}


def locked_params(stages: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters in `dvc.lock`, by dotted path."""
    return {
        name: value
        for stage in stages.values()
        for name, value in flatten(stage.get("params", {}).get("params.yaml", {})).items()
    }


def git(root: Path, *arguments: str) -> str | None:
    """Return the output of a Git command, or None if it fails or Git is missing."""
    output = git_bytes(root, *arguments)
    return None if output is None else output.decode("utf-8", "replace")


def git_bytes(root: Path, *arguments: str) -> bytes | None:
    """Return the output of a Git command as bytes, or None if it fails or Git is missing."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _data_digest(project: Project) -> str:
    """Return a SHA-256 of the digests of all raw files; it does not depend on the seed."""
    digests = read_dataset(project).get("sha256", {})
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _processor() -> str:
    """Return the name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
