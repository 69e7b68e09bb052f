"""Runs of the pipeline of the digits, unchanged and with regressions, which the gate judges.

Each variant of the pipeline runs in the clone `.gate/`, one after another, and is recorded in
`gate_runs.json` when it has finished. An interrupted experiment continues with the next one. The
seeds of the regressions are also those of unchanged pipelines: DVC then restores the stages that
an edit does not affect, and the effect of the edit is known for the same seed. A branch of the
clone contains the edits and all metrics of each variant.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentlab.common.files import read_json, write_json
from latentlab.common.project import Project
from latentlab.gate.baseline import Baseline, baseline_path, read_baseline
from latentlab.gate.outputs import read_metrics
from latentlab.gate.policy import Policy, read_policy
from latentlab.gate.verdict import Verdict, compare

from .clones import ROOT, output_of, update_clone
from .regressions import REGRESSIONS, Edit, apply_edits, edits_digest

RUNS = Path(__file__).with_name("gate_runs.json")
CLONE = Path(__file__).with_name(".gate")
PROFILE = "digits"
FIRST_SEED, UNCHANGED = 100, 20
INPUTS = ("src", "params.yaml", "dvc.yaml", "dvc.lock", "data.dvc", "gate.yaml", "profiles")

Run = dict[str, Any]
"""A variant that has finished, as in `gate_runs.json`: its metrics and what they depend on."""


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
class Gate:
    """The gate's policy and baseline, which give a verdict on the metrics of a run."""

    policy: Policy
    baseline: Baseline

    @classmethod
    def of_repository(cls) -> "Gate":
        """Read policy and baseline."""
        policy = read_policy(Project(ROOT, ROOT), PROFILE)
        return cls(policy, read_baseline(baseline_path(ROOT, PROFILE)))

    @property
    def fingerprint(self) -> str | None:
        """Identifies the code, parameters and data of the baseline."""
        return self.baseline.runs[0].fingerprint

    def verdict(self, run: Run) -> Verdict:
        """Compare the metrics of a run with the baseline."""
        return compare(self.policy, self.baseline, run["metrics"], "the baseline")

    def needed(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics that a verdict depends on."""
        rules = {name: self.policy.rule_of(name) for name in metrics}
        controls = {rule.control for rule in rules.values() if rule}
        return {name: metrics[name] for name in metrics if rules[name] or name in controls}


def unchanged_variants() -> list[Variant]:
    """Return the unchanged pipelines."""
    return [Variant("unchanged", FIRST_SEED + number) for number in range(UNCHANGED)]


def regression_variants() -> list[Variant]:
    """Return the regressions, each with a seed of its own."""
    return [
        Variant(each.name, seed, each.edits, each.metrics)
        for seed, each in enumerate(REGRESSIONS, FIRST_SEED)
    ]


def run_all(gate: Gate) -> list[Run]:
    """Run the variants that have not finished yet, and return the runs of all variants."""
    variants = [*unchanged_variants(), *regression_variants()]
    accepted = {run.seed for run in gate.baseline.runs}
    if seeds := accepted & {variant.seed for variant in variants}:
        raise SystemExit(f"the baseline contains seeds of the experiment: {sorted(seeds)}")
    known = current_runs(gate)
    runs = [run for variant in variants if (run := variant.find(known))]
    missing = [variant for variant in variants if not variant.find(runs)]
    commit = prepare_clone() if missing else ""
    for number, variant in enumerate(missing, 1):
        print(f"{number} of {len(missing)}: {variant.name}, seed {variant.seed}", flush=True)
        runs.append(run_variant(variant, gate, commit))
        write_json(RUNS, runs)
    return runs


def current_runs(gate: Gate) -> list[Run]:
    """Return the recorded runs with the code, parameters and data of the baseline."""
    runs = read_json(RUNS) if RUNS.exists() else []
    return [run for run in runs if run["baseline"] == gate.fingerprint]


def prepare_clone() -> str:
    """Update the clone and return its commit; uncommitted changes end the program."""
    if changed := output_of(
        "git", "status", "--porcelain", "--", *INPUTS, "baselines", folder=ROOT
    ):
        raise SystemExit(f"commit these changes first:\n{changed}")
    return update_clone(ROOT, CLONE)


def run_variant(variant: Variant, gate: Gate, commit: str) -> Run:
    """Run a variant of the pipeline and the gate in the clone.

    Stages that `evaluate` does not depend on, such as comparisons, have no metrics that the gate
    judges, so they do not run.
    """
    output_of("git", "checkout", "--quiet", "--force", "--detach", commit, folder=CLONE)
    seed = Edit("params.yaml", "  seed: 0 ", f"  seed: {variant.seed} ")
    apply_edits((seed, *variant.edits), CLONE)
    output_of(sys.executable, "-m", "dvc", "repro", "--quiet", "evaluate", folder=CLONE)
    program = str(Path(sys.executable).with_name("latentlab"))
    report = json.loads(
        output_of(program, "gate", "--stale-ok", "--format", "json", folder=CLONE, allowed=(0, 1))
    )
    (now,) = report["sides"]["now"]["runs"]
    if (now["fingerprint"] == gate.fingerprint) == bool(variant.edits):
        raise SystemExit(
            "the edits change nothing that the pipeline depends on"
            if variant.edits
            else f"HEAD is not the pipeline of baselines/{PROFILE}.json; accept a new baseline and "
            "commit it first"
        )
    run = {
        "name": variant.name,
        "seed": variant.seed,
        "edits": edits_digest(variant.edits),
        "commit": commit,
        "baseline": gate.fingerprint,
        "metrics": gate.needed(read_metrics(Project(CLONE, CLONE), report["dataset"])),
    }
    worse = [each["metric"] for each in report["metrics"] if each["fails"]]
    if [each.metric for each in gate.verdict(run).worse] != worse:
        raise SystemExit(f"the recorded metrics do not give the verdict of the gate: {run}")
    author = ("-c", "user.name=benchmarks", "-c", "user.email=benchmarks@localhost")
    output_of("git", *author, "commit", "--quiet", "--all", "--message", variant.name, folder=CLONE)
    branch = re.sub(r"\W+", "-", f"{variant.name} {variant.seed}")
    output_of("git", "branch", "--force", branch, folder=CLONE)
    print(f"  {report['verdict']} {', '.join(worse)}", flush=True)
    return run
