"""Accepted values of a metric over time, from the Git history of its baseline."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.progress import output_console
from latentlab.common.project import Project
from latentlab.gate.baseline import baseline_path, parse_baseline
from latentlab.gate.noise import Noise
from latentlab.gate.policy import suggestion
from latentlab.gate.provenance import git


@dataclass(frozen=True)
class AcceptedValue:
    """The accepted value of a metric in one commit; without a commit, in the work tree."""

    commit: str
    date: str
    mean: float
    std: float
    n: int
    reason: str | None


def accepted_values(project: Project, profile: str, metric: str) -> list[AcceptedValue]:
    """Return the different accepted values of a metric, oldest first.

    Raises ParamsError if no baseline of the profile has the metric, or if the current one is
    invalid.
    """
    path = baseline_path(project.root, profile)
    name = path.relative_to(project.root).as_posix()
    log = git(project.root, "log", "--reverse", "--format=%h %cs", "--", name) or ""
    versions = [
        (commit, date, git(project.root, "show", f"{commit}:./{name}") or "")
        for commit, date in map(str.split, log.splitlines())
    ]
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if not _read_earlier_format(text):
            parse_baseline(text, name)  # an edited baseline is an error, as it is for the gate
        versions.append(("", "not committed", text))
    values: list[AcceptedValue] = []
    known: set[str] = set()
    for commit, date, text in versions:
        metrics, reason = _read(text, name)
        known |= set(metrics)
        if metric in metrics:
            noise = metrics[metric]
            accepted = AcceptedValue(commit, date, noise.mean, noise.std, noise.n, reason)
            if not values or _content(accepted) != _content(values[-1]):
                values.append(accepted)
    if not values:
        raise ParamsError(f"{name} never contained {metric}{suggestion(metric, known)}")
    return values


def print_history(metric: str, values: list[AcceptedValue], as_json: bool) -> None:
    """Print accepted values as a table or as JSON."""
    if as_json:
        print(json.dumps([asdict(value) for value in values], indent=2))
        return
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("date", "commit", box=box.SIMPLE_HEAD, title=metric)
    for header in ("mean", "std", "n"):
        table.add_column(header, justify="right")
    table.add_column("reason")
    for each in values:
        spread = f"{each.std:.2g}" if each.n > 1 else ""
        numbers = (f"{each.mean:.5g}", spread, str(each.n))
        table.add_row(each.date, each.commit, *numbers, escape(each.reason or ""))
    output_console().print(table)


def _content(value: AcceptedValue) -> tuple[float, float, int, str | None]:
    return (value.mean, value.std, value.n, value.reason)


def _read(text: str, name: str) -> tuple[dict[str, Noise], str | None]:
    """Return the metrics of a baseline and its reason, also of the earlier format."""
    try:
        baseline = parse_baseline(text, name)
    except ParamsError:
        return _read_earlier_format(text), None
    noises = {metric: baseline.noise(metric) for metric in baseline.metrics}
    return {metric: noise for metric, noise in noises.items() if noise}, baseline.reason


def _read_earlier_format(text: str) -> dict[str, Noise]:
    """Return the metrics of a baseline that has mean, std and n of each metric."""
    try:
        metrics: dict[str, dict[str, Any]] = json.loads(text)["metrics"]
        return {key: Noise(each["mean"], each["std"], each["n"]) for key, each in metrics.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
