"""What the outputs are compared with: a baseline, its policy, and what differs since then."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.project import Project
from latentlab.evaluation.examples import Examples
from latentlab.gate.baseline import (
    AcceptedRun,
    Baseline,
    baseline_examples,
    baseline_path,
    read_baseline,
)
from latentlab.gate.outputs import is_number
from latentlab.gate.policy import Policy, read_policy
from latentlab.gate.provenance import find_profile, git, git_bytes, locked_inputs, locked_stages
from latentlab.params.fields import flatten
from latentlab.params.yaml_io import read_plain
from latentlab.tracking.results import MODEL, RUN, find_results

COMPARED = ("gate.yaml", "params.yaml", "profiles", "baselines")
"""Files of a revision that the gate reads."""


@dataclass(frozen=True)
class Opponent:
    """The other side of a comparison.

    `source` names it in reports. `commit` is the revision of its code and parameters, if known, and
    `examples` are its results per image, if it has any.
    """

    source: str
    policy: Policy
    baseline: Baseline
    commit: str | None
    examples: Examples | None


def find_opponent(project: Project, profile: str, against: str | None) -> Opponent:
    """Return the baseline of a profile, or what `against` names.

    This is the file of a baseline, a run or a registered model in MLflow, or a Git revision. Of a
    revision, baseline and policy are read, so that a change cannot pass by editing them. Raises
    ParamsError if it does not exist or is invalid.
    """
    if against is None:
        path = baseline_path(project.root, profile)
        baseline = read_baseline(path)
        source = path.relative_to(project.root).as_posix()
        commit = _commit_of(project.root, baseline) or _commit_of_file(project.root, source)
        policy, examples = read_policy(project, profile), baseline_examples(baseline, path)
        return Opponent(source, policy, baseline, commit, examples)
    if against.startswith((RUN, MODEL)):
        return _logged_opponent(project, profile, against)
    # first a revision: a change must not replace one by a file with its name
    commit = git(project.root, "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}")
    if commit is None and Path(against).is_file():
        baseline = read_baseline(Path(against))
        policy, examples = read_policy(project, profile), baseline_examples(baseline, Path(against))
        return Opponent(against, policy, baseline, _commit_of(project.root, baseline), examples)
    if commit is None:
        raise ParamsError(
            f"--against {against}: not a Git revision, a file, run:<id> or models:/<name>@<alias>"
        )
    with _checkout(project, commit.strip(), against) as earlier:
        profile = find_profile(earlier)
        path = baseline_path(earlier.root, profile)
        policy, baseline = read_policy(earlier, profile), read_baseline(path)
        examples = baseline_examples(baseline, path)
    source = f"{against}:baselines/{profile}.json"
    return Opponent(source, policy, baseline, commit.strip(), examples)


def find_differences(
    project: Project, opponent: Opponent, now: AcceptedRun
) -> dict[str, list[str]]:
    """Return the parameters, source files and data that differ between the two sides.

    Parameters and source files that can change a result are compared with the commit of the other
    side, and data by the digest of the raw files. An empty list means that there is no difference;
    a missing one, that it is unknown.
    """
    differences: dict[str, list[str]] = {}
    if opponent.commit and (text := git(project.root, "show", f"{opponent.commit}:./params.yaml")):
        differences["parameters"] = _changed_parameters(text, project.params)
        sources = _sources(project.root)
        tracked = git(
            project.root, "diff", "--relative", "--name-only", opponent.commit, "--", *sources
        )
        new = git(project.root, "ls-files", "--others", "--exclude-standard", "--", *sources)
        differences["source files"] = sorted({*(tracked or "").split(), *(new or "").split()})
    digests = {run.data for run in opponent.baseline.runs}
    if None not in digests:
        differences["data"] = [] if digests == {now.data} else ["the raw files"]
    return differences


def _sources(root: Path) -> list[str]:
    """Return the source folders and files that can change a result: the inputs in `dvc.lock`."""
    inputs = locked_inputs(locked_stages(root) or {})
    return ["dvc.yaml", *(path for path in inputs if path.startswith("src/"))]


def _commit_of(root: Path, baseline: Baseline) -> str | None:
    """Return the commit of the last run of a baseline, if it exists and contains all changes.

    A commit no longer exists, for example, after its branch was squashed and removed.
    """
    run = baseline.runs[-1]
    if run.dirty or run.commit is None:
        return None
    found = git(root, "rev-parse", "--verify", "--quiet", f"{run.commit}^{{commit}}")
    return found.strip() if found else None


def _commit_of_file(root: Path, name: str) -> str | None:
    """Return the commit that wrote a file, which also contains what was accepted with it."""
    if git(root, "status", "--porcelain", "--", name) != "":
        return None
    return (git(root, "log", "-1", "--format=%H", "--", name) or "").strip() or None


def _logged_opponent(project: Project, profile: str, address: str) -> Opponent:
    """Return the run in MLflow as a baseline of one run, with its results per image."""
    logged = find_results(project, address)
    metrics = {name: value for name, value in logged.metrics.items() if is_number(value)}
    if not metrics:
        raise ParamsError(f"{address} has no metrics; choose a run of a stage that has some")
    seed = logged.tags.get("seed", "")
    run = AcceptedRun(
        seed=int(seed) if seed.isdigit() else None,
        commit=logged.tags.get("git_commit"),
        dirty=logged.tags.get("git_dirty") == "true",
        fingerprint=None,
        data=None,
        packages={},
        processor=None,
        device=logged.tags.get("device"),
        note=f"logged in MLflow: {address}",
        metrics=metrics,
    )
    dataset = logged.tags.get("dataset", "")
    baseline = Baseline(dataset=dataset, profile=profile, accepted=None, reason=None, runs=[run])
    # a run has the metrics of its own stage only
    policy = read_policy(project, profile).for_stages({name.partition("/")[0] for name in metrics})
    return Opponent(address, policy, baseline, _commit_of(project.root, baseline), logged.examples)


@contextmanager
def _checkout(project: Project, commit: str, name: str) -> Iterator[Project]:
    """Yield a project with the files of a revision that the gate reads; errors name it."""
    names = git(project.root, "ls-tree", "--name-only", commit, "--", *COMPARED) or ""
    archive = git_bytes(project.root, "archive", "--format=tar", commit, "--", *names.split())
    with tempfile.TemporaryDirectory() as folder:
        if archive:
            with tarfile.open(fileobj=BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
        try:
            yield Project(Path(folder), project.home)
        except ParamsError as error:
            raise ParamsError(str(error).replace(f"{folder}/", f"{name}:")) from None


def _changed_parameters(before: str, path: Path) -> list[str]:
    """Return one text for each parameter that differs: `vae.beta: 1.0 -> 0.5`."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "params.yaml"
        earlier.write_text(before, encoding="utf-8")
        old: dict[str, Any] = flatten(read_plain(earlier))
    new = flatten(read_plain(path))
    return [
        f"{name}: {old.get(name, 'unset')} -> {new.get(name, 'unset')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name, "unset") != new.get(name, "unset")
    ]
