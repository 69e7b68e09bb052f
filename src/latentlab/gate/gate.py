"""The regression gate: compare current metrics with an accepted baseline, as `gate.yaml` says."""

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field

from latentlab.common.errors import ParamsError
from latentlab.common.files import read_json, write_json
from latentlab.common.progress import output_console
from latentlab.common.project import FOREACH_STAGES, Project
from latentlab.params.fields import Section, flatten
from latentlab.params.messages import find_errors, params_error
from latentlab.params.yaml_io import read_yaml

NEW_BASELINE = "after a run that you trust, write a baseline with `latentlab gate --accept`"


class MetricPolicy(Section):
    """How much worse a metric may become before the gate fails.

    `direction` is the better direction. `absolute` is in the unit of the metric, `relative` a
    fraction of the absolute value of the baseline. Only a `required` metric must exist.
    """

    direction: Literal["lower", "higher"]
    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0
    required: bool = True


class Policy(Section):
    """The contents of `gate.yaml`; changes within `noise` standard deviations are allowed."""

    noise: Annotated[float, Field(ge=0)]
    metrics: Annotated[dict[str, MetricPolicy], Field(min_length=1)]


class Accepted(TypedDict):
    """The baseline of one metric: mean, sample standard deviation and number of runs."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Verdict:
    """The comparison of one metric with its baseline.

    `baseline`, `std` and `n` are the mean, standard deviation and number of the accepted runs.
    `change` is positive if the metric became worse; it and `allowed` have the unit of the metric.
    """

    metric: str
    direction: str
    baseline: float
    std: float
    n: int
    value: float
    change: float
    allowed: float

    @property
    def worse(self) -> bool:
        """Whether the metric became worse by more than is allowed."""
        return self.change > self.allowed

    @property
    def relative_change(self) -> float:
        """The change as a multiple of what is allowed; the gate fails above 1."""
        if self.allowed == 0:
            return math.inf if self.change > 0 else -math.inf if self.change < 0 else 0.0
        return self.change / self.allowed


def compare_with_baseline(project: Project, dataset: str) -> list[Verdict]:
    """Compare every metric of the policy with the baseline; return the verdicts, worst first.

    Raises ParamsError if the policy or baseline is missing or invalid, or if a required metric is
    missing or not a finite number.
    """
    policy = _read_policy(project)
    values = read_metrics(project, dataset)
    baseline = _read_baseline(project, dataset)
    verdicts, problems = [], []
    for metric, rule in policy.metrics.items():
        for source, where in ((values, "outputs/"), (baseline, f"baselines/{dataset}.json")):
            if metric not in source and rule.required:
                problems.append(f"{metric}: missing in {where}{_suggestion(metric, source)}")
        if metric not in values or metric not in baseline:
            continue
        if not _is_number(values[metric]):
            problems.append(f"{metric}: {values[metric]!r} is not a finite number")
            continue
        verdicts.append(_verdict(metric, rule, policy.noise, baseline[metric], values[metric]))
    if problems:
        raise ParamsError("the gate cannot compare these metrics:\n  " + "\n  ".join(problems))
    return sorted(verdicts, key=lambda verdict: -verdict.relative_change)


def _verdict(
    metric: str, rule: MetricPolicy, noise: float, accepted: Accepted, value: float
) -> Verdict:
    mean, std = accepted["mean"], accepted["std"]
    change = value - mean if rule.direction == "lower" else mean - value
    allowed = max(rule.absolute, rule.relative * abs(mean), noise * std)
    return Verdict(metric, rule.direction, mean, std, accepted["n"], value, change, allowed)


def accept(project: Project, dataset: str, add: bool) -> str:
    """Write the current metrics as the baseline, or `add` another run to it; return a message.

    Means and standard deviations are updated with Welford's algorithm, so the baseline need not
    store the values of each run. Raises ParamsError if a required metric is missing or not a finite
    number, or if the run is already part of the baseline.
    """
    policy = _read_policy(project)
    values = read_metrics(project, dataset)
    problems = []
    for metric, rule in policy.metrics.items():
        if metric not in values and rule.required:
            problems.append(f"{metric}: missing in outputs/{_suggestion(metric, values)}")
        elif metric in values and not _is_number(values[metric]):
            problems.append(f"{metric}: {values[metric]!r} is not a finite number")
    if problems:
        raise ParamsError(
            "the metrics were not accepted; run `dvc repro` first:\n  " + "\n  ".join(problems)
        )
    accepted = _read_baseline(project, dataset) if add else {}
    if add and all(_repeats(accepted.get(metric), values.get(metric)) for metric in policy.metrics):
        raise ParamsError(
            "the metrics were not added, because the baseline already contains this run; change "
            "runtime.seed and run `dvc repro` first"
        )
    for metric in policy.metrics:
        if metric in values:
            accepted[metric] = _add_value(accepted.get(metric), values[metric])
    target = project.baselines / f"{dataset}.json"
    write_json(target, {"dataset": dataset, "metrics": accepted})
    return f"{target}: {len(accepted)} metrics accepted; commit it"


def _repeats(before: Accepted | None, value: float | None) -> bool:
    """Return whether a metric equals the baseline of a single run, or is missing in both."""
    return value is None if before is None else before["n"] == 1 and before["mean"] == value


def _add_value(before: Accepted | None, value: float) -> Accepted:
    """Return the mean, sample standard deviation and count after another value."""
    if before is None:
        return {"mean": value, "std": 0.0, "n": 1}
    n = before["n"] + 1
    delta = value - before["mean"]
    mean = before["mean"] + delta / n
    squares = before["std"] ** 2 * (n - 2) + delta * (value - mean)
    return {"mean": mean, "std": math.sqrt(squares / (n - 1)), "n": n}


def read_metrics(project: Project, dataset: str) -> dict[str, Any]:
    """Return the metrics of all stages, named `<stage>/<split>/<metric>`.

    Raises ParamsError if the outputs are not those of `dataset`, or if a stage did not finish.
    """
    description = project.outputs("fetch") / "dataset.json"
    if not description.is_file():  # in a fresh clone: metrics are in Git, this file is not
        raise ParamsError(f"{description} is missing; run `dvc repro` first")
    name = _read_mapping(description).get("name")
    if name != dataset:
        raise ParamsError(
            f"data.name = '{dataset}', but outputs/ contains the results of '{name}'; "
            "run `dvc repro` first"
        )
    values: dict[str, Any] = {}
    params = read_yaml(project.params)
    for folder in project.output_folders():
        if folder.parent.name in FOREACH_STAGES and folder.name not in params[folder.parent.name]:
            continue  # left by an entry that was removed, perhaps on another branch
        source = folder / "metrics.json"
        if not source.is_file():  # DVC removes it before the stage runs
            raise ParamsError(
                f"{source} is missing, because its stage did not finish; run `dvc repro` first"
            )
        tree = _read_mapping(source)
        stage = folder.relative_to(project.root / "outputs").as_posix()
        values |= flatten(tree, f"{stage}/", "/")
    return values


def _read_mapping(source: Path) -> dict[str, Any]:
    try:
        tree = read_json(source)
    except ValueError as error:
        raise ParamsError(f"{source}: not valid JSON: {error}; run `dvc repro` first") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{source}: must be a JSON object; run `dvc repro` first")
    return tree


def _is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number; Python also reads NaN and infinity."""
    return isinstance(value, int | float) and math.isfinite(value)


def as_json(verdicts: list[Verdict]) -> str:
    """Return the verdicts as JSON."""
    return json.dumps([asdict(v) | {"worse": v.worse} for v in verdicts], indent=2)


def print_table(dataset: str, verdicts: list[Verdict]) -> None:
    """Print the verdicts as a table on stdout, then one line for each metric that became worse."""
    from rich import box
    from rich.table import Table

    table = Table("", "metric", "better", box=box.SIMPLE_HEAD, title=f"Gate: {dataset}")
    for column in ("baseline", "current", "worse by", "allowed"):
        table.add_column(column, justify="right")
    for v in verdicts:
        mark = "[red]WORSE[/red]" if v.worse else "ok"
        spread = f" ± {v.std:.2g} (n={v.n})" if v.n > 1 else ""
        table.add_row(
            mark,
            v.metric,
            v.direction,
            f"{v.baseline:.5g}{spread}",
            f"{v.value:.5g}",
            f"{v.change:+.2g}",
            f"{v.allowed:.2g}",
        )
    console = output_console()
    console.print(table)
    for v in verdicts:
        if v.worse:
            console.print(describe_worse(v), highlight=False)
    if not any(v.worse for v in verdicts):
        console.print(f"gate passed: {len(verdicts)} metrics", highlight=False)


def describe_worse(verdict: Verdict) -> str:
    """Return one line on a metric that became worse."""
    return (
        f"{verdict.metric}: {verdict.baseline:.5g} -> {verdict.value:.5g} "
        f"(worse by {verdict.change:.2g}, allowed {verdict.allowed:.2g})"
    )


def _read_policy(project: Project) -> Policy:
    path = project.root / "gate.yaml"
    document = read_yaml(path)
    if errors := find_errors(Policy, document):
        raise params_error(errors, document, path)
    return Policy.model_validate(document)


def _read_baseline(project: Project, dataset: str) -> dict[str, Accepted]:
    path = project.baselines / f"{dataset}.json"
    try:
        metrics: dict[str, Accepted] = read_json(path)["metrics"]
        for metric, accepted in metrics.items():
            if not all(_is_number(accepted[key]) for key in ("mean", "std", "n")):
                raise ParamsError(f"{path}: {metric} is not a finite number; {NEW_BASELINE}")
        return metrics
    except FileNotFoundError:
        raise ParamsError(f"the baseline {path} does not exist; {NEW_BASELINE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParamsError(f"{path} is not a baseline ({error}); {NEW_BASELINE}") from None


def _suggestion(metric: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(metric, list(names), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
