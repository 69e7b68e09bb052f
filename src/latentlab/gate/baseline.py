"""Baselines: accepted runs of a profile with their provenance, in `baselines/<profile>.json`."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from latentlab.common.errors import ParamsError
from latentlab.common.files import sha256_of, write_json
from latentlab.evaluation.examples import EXAMPLES, Examples, read_examples
from latentlab.gate.noise import Noise
from latentlab.gate.outputs import parse_json
from latentlab.params.fields import Flag, Integer, Real, Section
from latentlab.params.messages import find_errors

NEW_BASELINE = "after a run that you trust, write a baseline with `latentlab gate --accept`"

MAX_ERRORS = 5
"""Errors in the file that are listed."""


class AcceptedRun(Section):
    """One accepted run of the pipeline: where it comes from, and all its metrics.

    `fingerprint` identifies parameters (except the seed), source code, data and torch. `data` is a
    digest of the raw files. What is unknown is null, and then `note` says why.
    """

    seed: Integer | None
    commit: str | None
    dirty: Flag | None
    fingerprint: str | None
    data: str | None
    packages: dict[str, str]
    processor: str | None
    device: str | None
    note: str | None = None
    metrics: Annotated[dict[str, Real], Field(min_length=1)]


class Baseline(Section):
    """The accepted runs of a profile, and when and why they were accepted.

    `examples` is the SHA-256 of the results per image of one of the runs, in the file next to the
    baseline that `examples_path` names.
    """

    dataset: str
    profile: str
    accepted: str | None
    reason: str | None
    examples: str | None = None
    runs: Annotated[list[AcceptedRun], Field(min_length=1)]

    def noise(self, metric: str) -> Noise | None:
        """Return mean, standard deviation and n of a metric; None if a run does not have it."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        return Noise.of(values) if len(values) == len(self.runs) else None

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics of any run, in their order."""
        return list(dict.fromkeys(name for run in self.runs for name in run.metrics))


def baseline_path(root: Path, profile: str) -> Path:
    """Return the file of the baseline of a profile."""
    return root / "baselines" / f"{profile}.json"


def examples_path(path: Path) -> Path:
    """Return the file with the results per image that belongs to a baseline."""
    return path.with_suffix(f".{EXAMPLES}")


def baseline_examples(baseline: Baseline, path: Path) -> Examples | None:
    """Return the results per image of a baseline in `path`; None if it has none.

    Raises ParamsError if the file is missing or is not the accepted one.
    """
    if baseline.examples is None:
        return None
    source = examples_path(path)
    if not source.is_file() or sha256_of(source) != baseline.examples:
        raise ParamsError(
            f"{source} is missing or not the file that was accepted; restore it with "
            f"`git checkout -- {source}`, or {NEW_BASELINE}"
        )
    return read_examples(source)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline; raise ParamsError if it is missing, invalid or was edited."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"the baseline {path} does not exist; {NEW_BASELINE}") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 text ({error}); {NEW_BASELINE}") from None
    return parse_baseline(text, str(path))


def parse_baseline(text: str, path: str) -> Baseline:
    """Parse the content of the file `path`; raise the errors of `read_baseline`."""
    try:
        document = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"{path} is not valid JSON ({error}); {NEW_BASELINE}") from None
    if not isinstance(document, dict):
        raise ParamsError(f"{path} is not a baseline: it must be a JSON object; {NEW_BASELINE}")
    content = {key: value for key, value in document.items() if key != "checksum"}
    if errors := find_errors(Baseline, content):
        lines = [f"{'.'.join(map(str, place))}{_short(errors[place])}" for place in errors]
        listed = "\n  ".join(lines[:MAX_ERRORS])
        raise ParamsError(
            f"{path} is not a baseline:\n  {listed}\n{NEW_BASELINE[0].upper()}{NEW_BASELINE[1:]}"
        )
    if document.get("checksum") != checksum(content):
        raise ParamsError(
            f"{path} was edited: its checksum is not that of its content. Restore it with "
            f"`git checkout -- {path}`, or {NEW_BASELINE}"
        )
    baseline = Baseline.model_validate(content)
    _check_runs(baseline, path)
    return baseline


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline with its checksum."""
    content = baseline.tree()
    write_json(path, content | {"checksum": checksum(content)})


def find_run(baseline: Baseline, run: AcceptedRun) -> AcceptedRun | None:
    """Return the run of a baseline with the same seed and fingerprint, or None."""
    identity = (run.seed, run.fingerprint)
    known = (each for each in baseline.runs if each.fingerprint is not None)
    return next((each for each in known if (each.seed, each.fingerprint) == identity), None)


def with_run(baseline: Baseline, run: AcceptedRun, path: Path) -> Baseline:
    """Return a baseline with one more run.

    Raises ParamsError if the run is in it already, or if a run has another fingerprint.
    """
    if find_run(baseline, run):
        raise ParamsError(
            f"{path} already contains the run with seed {run.seed}; change runtime.seed and run "
            "`dvc repro` first"
        )
    if any(each.fingerprint != run.fingerprint for each in baseline.runs):
        raise ParamsError(
            f"{path} has runs with other parameters, code, data or torch (only the seed may "
            "differ); replace it with `latentlab gate --accept`, then add further seeds"
        )
    return baseline.model_copy(update={"runs": [*baseline.runs, run]})


def _short(message: str) -> str:
    """Return a message without the middle of a long value."""
    return message if len(message) <= 120 else f"{message[:42]}...{message[-60:]}"


def _check_runs(baseline: Baseline, path: str) -> None:
    """Raise ParamsError unless the runs differ in their seeds, and in nothing else."""
    if len({run.fingerprint for run in baseline.runs}) > 1:
        raise ParamsError(
            f"{path} has runs with different parameters, code, data or torch; {NEW_BASELINE}"
        )
    seeds = [run.seed for run in baseline.runs]
    if twice := sorted({str(seed) for seed in seeds if seeds.count(seed) > 1}):
        raise ParamsError(f"{path} has several runs with seed {', '.join(twice)}; {NEW_BASELINE}")


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the content of a baseline."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
