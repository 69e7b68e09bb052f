"""Runs of the pipeline of the digits, unchanged and with regressions, which the gate judges.

Each variant of the pipeline runs in the clone `.gate/`, one after another, and is recorded in
`gate_runs.json` when it has finished. An interrupted experiment continues with the next one.
Unchanged pipelines have other seeds than the baseline. Regressions have the seed of `params.yaml`,
as a change that CI judges; DVC restores the stages that an edit does not affect. A branch of the
clone contains the edits and all metrics of each variant.
"""

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentlab.common.files import read_json, write_json
from latentlab.common.project import Project
from latentlab.gate.baseline import Baseline, baseline_path, read_baseline
from latentlab.gate.noise import MIN_RUNS
from latentlab.gate.policy import read_policy

from .clones import ROOT, output_of, update_clone
from .regressions import REGRESSIONS, Edit, apply_edits, edits_digest

RUNS = Path(__file__).with_name("gate_runs.json")
CLONE = Path(__file__).with_name(".gate")
PROFILE = "digits"
SEED = 0
"""The seed of `params.yaml`."""
FIRST_SEED, UNCHANGED = 100, 20
INPUTS = ("src", "params.yaml", "dvc.yaml", "dvc.lock", "data.dvc", "gate.yaml", "profiles")
RECORDED = (
    *("metric", "direction", "baseline", "std", "now", "change", "allowed", "fails"),
    "informational",
)
"""What is recorded of each comparison in the gate's report."""

Run = dict[str, Any]
"""A variant that has finished, as in `gate_runs.json`: the gate's comparisons, worst first."""


@dataclass(frozen=True)
class Variant:
    """A pipeline with a seed and edits; it should make `metrics` worse, which are patterns."""

    name: str
    seed: int
    edits: tuple[Edit, ...] = ()
    metrics: tuple[str, ...] = ()

    def find(self, runs: list[Run]) -> Run | None:
        """Return the run of this variant, or None if it has not finished."""
        identity = (self.seed, edits_digest(self.edits))
        return next((run for run in runs if (run["seed"], run["edits"]) == identity), None)


@dataclass(frozen=True)
class Shipped:
    """The baseline in the repository, and a checksum of it and of its rules in the policy."""

    baseline: Baseline
    checksum: str

    @classmethod
    def of_repository(cls) -> "Shipped":
        """Read the baseline."""
        path = baseline_path(ROOT, PROFILE)
        policy = read_policy(Project(ROOT, ROOT), PROFILE).model_dump_json(exclude={"profiles"})
        rules = hashlib.sha256(policy.encode()).hexdigest()
        return cls(read_baseline(path), f"{read_json(path)['checksum'][:16]}-{rules[:16]}")

    @property
    def fingerprint(self) -> str | None:
        """Identifies the code, parameters and data of the baseline."""
        return self.baseline.runs[0].fingerprint

    def accepted(self, metric: str) -> float:
        """Return the value of a metric in the accepted run with the seed of `params.yaml`."""
        return next(run.metrics[metric] for run in self.baseline.runs if run.seed == SEED)


def unchanged_variants() -> list[Variant]:
    """Return the unchanged pipelines."""
    return [Variant("unchanged", FIRST_SEED + number) for number in range(UNCHANGED)]


def regression_variants() -> list[Variant]:
    """Return the regressions."""
    return [Variant(each.name, SEED, each.edits, each.metrics) for each in REGRESSIONS]


def run_all(shipped: Shipped) -> list[Run]:
    """Run the variants that have not finished yet, and return the runs of all variants."""
    if (count := len(shipped.baseline.runs)) < MIN_RUNS:
        raise SystemExit(
            f"the baseline has {count} runs; run `latentlab gate --calibrate 10` first"
        )
    unchanged = unchanged_variants()
    variants = [*unchanged, *regression_variants()]
    accepted = {run.seed for run in shipped.baseline.runs}
    if seeds := accepted & {variant.seed for variant in unchanged}:
        raise SystemExit(f"the baseline contains seeds of the experiment: {sorted(seeds)}")
    known = current_runs(shipped)
    runs = [run for variant in variants if (run := variant.find(known))]
    missing = [variant for variant in variants if not variant.find(runs)]
    commit = prepare_clone() if missing else ""
    for number, variant in enumerate(missing, 1):
        print(f"{number} of {len(missing)}: {variant.name}, seed {variant.seed}", flush=True)
        runs.append(run_variant(variant, shipped, commit))
        write_json(RUNS, runs)
    return runs


def current_runs(shipped: Shipped) -> list[Run]:
    """Return the recorded runs that were compared with this baseline under this policy."""
    runs = read_json(RUNS) if RUNS.exists() else []
    return [run for run in runs if run["baseline"] == shipped.checksum]


def prepare_clone() -> str:
    """Update the clone and return its commit; uncommitted changes end the program."""
    if changed := output_of(
        "git", "status", "--porcelain", "--", *INPUTS, "baselines", folder=ROOT
    ):
        raise SystemExit(f"commit these changes first:\n{changed}")
    return update_clone(ROOT, CLONE)


def run_variant(variant: Variant, shipped: Shipped, commit: str) -> Run:
    """Run a variant of the pipeline and the gate in the clone.

    Stages that `evaluate` does not depend on, such as comparisons, have no metrics that the gate
    judges, so they do not run.
    """
    output_of("git", "checkout", "--quiet", "--force", "--detach", commit, folder=CLONE)
    seed = Edit("params.yaml", f"  seed: {SEED} ", f"  seed: {variant.seed} ")
    apply_edits((seed, *variant.edits), CLONE)
    dvc = (sys.executable, "-m", "dvc")
    if not json.loads(output_of(*dvc, "status", "--json", "evaluate", folder=CLONE)):
        raise SystemExit(f"{variant.name}: nothing changes that the pipeline depends on")
    output_of(*dvc, "repro", "--quiet", "evaluate", folder=CLONE)
    program = str(Path(sys.executable).with_name("latentlab"))
    report = json.loads(
        output_of(program, "gate", "--stale-ok", "--format", "json", folder=CLONE, allowed=(0, 1))
    )
    (now,) = report["sides"]["now"]["runs"]
    if not variant.edits and now["fingerprint"] != shipped.fingerprint:
        raise SystemExit(
            f"HEAD is not the pipeline of baselines/{PROFILE}.json; accept a new baseline and "
            "commit it first"
        )
    author = ("-c", "user.name=benchmarks", "-c", "user.email=benchmarks@localhost")
    output_of("git", *author, "commit", "--quiet", "--all", "--message", variant.name, folder=CLONE)
    branch = re.sub(r"\W+", "-", f"{variant.name} {variant.seed}")
    output_of("git", "branch", "--force", branch, folder=CLONE)
    comparisons = [{key: each[key] for key in RECORDED} for each in report["metrics"]]
    print(f"  {report['verdict']} {', '.join(failing(comparisons))}", flush=True)
    return {
        "name": variant.name,
        "seed": variant.seed,
        "edits": edits_digest(variant.edits),
        "commit": commit,
        "baseline": shipped.checksum,
        "comparisons": comparisons,
    }


def failing(comparisons: list[dict[str, Any]]) -> list[str]:
    """Return the metrics that fail the gate."""
    return [each["metric"] for each in comparisons if each["fails"]]
