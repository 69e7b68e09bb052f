"""Calibration: the pipeline with several seeds, as DVC experiments outside the work tree.

The result of each seed is a DVC experiment, which Git stores. An interrupted calibration therefore
continues with the seeds that are missing, and DVC's run cache restores their finished stages.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from io import BytesIO
from itertools import count
from pathlib import Path

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.gate.baseline import AcceptedRun, Baseline
from latentlab.gate.outputs import is_number, read_metrics
from latentlab.gate.policy import Policy
from latentlab.gate.provenance import git, git_bytes, input_fingerprint
from latentlab.gate.verdict import check_values

Runner = Callable[[Path, str, int], None]
"""Runs the pipeline of a repository with a seed, and stores it as an experiment of a name."""


def calibrated_runs(
    project: Project,
    dataset: str,
    policy: Policy,
    now: AcceptedRun,
    earlier: Baseline | None,
    runs: int,
    runner: Runner,
) -> list[AcceptedRun]:
    """Return at least `runs` runs that differ only by their seed.

    These are the current run, the runs of the earlier baseline with the same fingerprint, and runs
    of the smallest other seeds. Raises EnvironmentProblem if the pipeline fails, and ParamsError if
    its metrics are invalid or its inputs differ from those of the current run.
    """
    known = (
        {run.seed: run for run in earlier.runs if run.fingerprint == now.fingerprint}
        if earlier
        else {}
    )
    known[now.seed] = now
    for seed in count():
        if len(known) >= runs:
            return [known[seed] for seed in sorted(known, key=lambda seed: seed or 0)]
        if seed not in known:
            name = f"calibrate-{str(now.fingerprint)[:10]}-{seed}"
            if _revision(project.root, name) is None:
                note(f"seed {seed}: run {len(known) + 1} of {runs}")
                runner(project.root, name, seed)
            known[seed] = _read_experiment(project, dataset, policy, now, name, seed)
    raise AssertionError("there are infinitely many seeds")


def run_experiment(root: Path, name: str, seed: int) -> None:
    """Run the pipeline with DVC in a temporary folder; raise EnvironmentProblem if it fails."""
    change = ("--set-param", f"runtime.seed={seed}")
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *change]
    if subprocess.run(command, cwd=root, stdout=sys.stderr).returncode:
        raise EnvironmentProblem(
            f"the pipeline failed with seed {seed}, see above. The same command continues from here"
        )


def _revision(root: Path, name: str) -> str | None:
    """Return the commit of a DVC experiment, or None if there is no experiment of this name."""
    pattern = f"refs/exps/*/*/{name}"
    found = git(root, "for-each-ref", "--format=%(objectname)", pattern)
    return found.split()[0] if found and found.strip() else None


def _read_experiment(
    project: Project, dataset: str, policy: Policy, now: AcceptedRun, name: str, seed: int
) -> AcceptedRun:
    """Return the run that an experiment contains."""
    revision = _revision(project.root, name)
    archive = git_bytes(project.root, "archive", "--format=tar", str(revision))
    if revision is None or archive is None:
        raise EnvironmentProblem(f"DVC stored no experiment {name}; run the command again")
    with tempfile.TemporaryDirectory() as folder:
        copy = Project(Path(folder), project.home)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        # Git does not track it; its name and raw files do not depend on the seed
        shutil.copy(project.outputs("fetch") / "dataset.json", copy.outputs("fetch"))
        metrics = read_metrics(copy, dataset)
        fingerprint = input_fingerprint(copy.root, str(now.data))
    if fingerprint != now.fingerprint:
        raise ParamsError(
            f"the experiment {name} has other parameters, code or data than outputs/; remove it "
            f"with `dvc exp remove {name}` and run the command again"
        )
    ruled = {metric: rule for metric in now.metrics if (rule := policy.rule_of(metric))}
    if problems := check_values(ruled, metrics):
        raise ParamsError(f"the metrics of seed {seed} are invalid:\n  " + "\n  ".join(problems))
    numbers = {metric: value for metric, value in metrics.items() if is_number(value)}
    return now.model_copy(update={"seed": seed, "metrics": numbers})
