"""The regression gate: metrics at hand against the accepted baseline, under `gate.yaml`."""

import difflib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from latentlab.common.errors import ParamsError
from latentlab.common.files import read_json, write_json
from latentlab.common.project import FOREACH_STAGES, Project
from latentlab.params.fields import Section, flatten
from latentlab.params.messages import find_mistakes, refusal
from latentlab.params.yaml_io import read_yaml


class MetricPolicy(Section):
    """How far a metric may move in its bad direction before the gate fails."""

    direction: Literal["lower", "higher"]
    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0
    required: bool = True


class Policy(Section):
    """`gate.yaml`. `noise` is how many standard deviations of the baseline count as nothing."""

    noise: Annotated[float, Field(ge=0)]
    metrics: Annotated[dict[str, MetricPolicy], Field(min_length=1)]


@dataclass(frozen=True)
class Verdict:
    """One metric judged; `change` is positive when it got worse, in the metric's own unit."""

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
        """Whether the change is more than what is allowed."""
        return self.change > self.allowed

    @property
    def badness(self) -> float:
        """Change in units of what is allowed; above 1 fails."""
        if self.allowed == 0:
            return math.inf if self.change > 0 else -math.inf if self.change < 0 else 0.0
        return self.change / self.allowed


def judge(project: Project, dataset: str) -> list[Verdict]:
    """Judge every metric of the policy, worst first; ParamsError (exit 2) where that cannot be."""
    policy = _read_policy(project)
    values = read_metrics(project, dataset)
    baseline = _read_baseline(project, dataset)
    verdicts, faults = [], []
    for metric, rule in policy.metrics.items():
        for source, where in ((values, "outputs/"), (baseline, f"baselines/{dataset}.json")):
            if metric not in source and rule.required:
                faults.append(f"{metric}: missing in {where}{_nearest(metric, source)}")
        if metric not in values or metric not in baseline:
            continue
        if not _is_number(values[metric]):
            faults.append(f"{metric}: is {values[metric]!r}, not a finite number")
            continue
        verdicts.append(_verdict(metric, rule, policy.noise, baseline[metric], values[metric]))
    if faults:
        raise ParamsError("the gate cannot judge:\n  " + "\n  ".join(faults))
    return sorted(verdicts, key=lambda verdict: -verdict.badness)


def _verdict(
    metric: str, rule: MetricPolicy, noise: float, accepted: dict[str, float], value: float
) -> Verdict:
    mean, std = accepted["mean"], accepted["std"]
    change = value - mean if rule.direction == "lower" else mean - value
    allowed = max(rule.absolute, rule.relative * abs(mean), noise * std)
    return Verdict(metric, rule.direction, mean, std, accepted["n"], value, change, allowed)


def accept(project: Project, dataset: str, add: bool) -> str:
    """Write the metrics at hand as the baseline, or add them to it as one more run.

    Mean and standard deviation are updated by Welford's method.
    """
    policy = _read_policy(project)
    values = read_metrics(project, dataset)
    faults = []
    for metric, rule in policy.metrics.items():
        if metric not in values and rule.required:
            faults.append(f"{metric}: missing in outputs/{_nearest(metric, values)}")
        elif metric in values and not _is_number(values[metric]):
            faults.append(f"{metric}: is {values[metric]!r}, not a finite number")
    if faults:
        raise ParamsError("not accepted; run `dvc repro` first:\n  " + "\n  ".join(faults))
    accepted = _read_baseline(project, dataset) if add else {}
    if add and all(_repeats(accepted.get(metric), values.get(metric)) for metric in policy.metrics):
        raise ParamsError(
            "not added: these are the very figures of the baseline, and a run counts once; "
            "change runtime.seed and run `dvc repro` first"
        )
    for metric in policy.metrics:
        if metric in values:
            accepted[metric] = _with_one_more(accepted.get(metric), values[metric])
    target = project.baselines / f"{dataset}.json"
    write_json(target, {"dataset": dataset, "metrics": accepted})
    return f"{target}: {len(accepted)} metrics accepted; commit it"


def _repeats(before: dict[str, float] | None, value: float | None) -> bool:
    """Whether a metric is just what was accepted of a single run; so are two that are missing."""
    return value is None if before is None else before["n"] == 1 and before["mean"] == value


def _with_one_more(before: dict[str, float] | None, value: float) -> dict[str, float]:
    if before is None:
        return {"mean": value, "std": 0.0, "n": 1}
    n = before["n"] + 1
    delta = value - before["mean"]
    mean = before["mean"] + delta / n
    squares = before["std"] ** 2 * (n - 2) + delta * (value - mean)
    return {"mean": mean, "std": math.sqrt(squares / (n - 1)), "n": n}


def read_metrics(project: Project, dataset: str) -> dict[str, Any]:
    """Every figure of every stage, named `<stage>/<split>/<metric>`.

    ParamsError where the outputs are those of another dataset, or it is not known of which.
    """
    described = project.outputs("fetch") / "dataset.json"
    if not described.is_file():  # metrics are in Git, this file is not
        raise ParamsError(f"{described} is missing: run `dvc repro` first")
    data_dir = _read_mapping(described).get("name")
    if data_dir != dataset:
        raise ParamsError(
            f"data.name = '{dataset}', but outputs/ holds the results of '{data_dir}'; "
            "run `dvc repro` first"
        )
    values: dict[str, Any] = {}
    params = read_yaml(project.params)
    for folder in project.output_folders():
        if folder.parent.name in FOREACH_STAGES and folder.name not in params[folder.parent.name]:
            continue  # what an entry that is no more has left, on another branch perhaps
        source = folder / "metrics.json"
        if not source.is_file():  # DVC clears a stage before it runs
            raise ParamsError(f"{source} is missing: its stage did not finish; run `dvc repro`")
        tree = _read_mapping(source)
        stage = folder.relative_to(project.root / "outputs").as_posix()
        values |= flatten(tree, f"{stage}/", "/")
    return values


def _read_mapping(source: Path) -> dict[str, Any]:
    try:
        tree = read_json(source)
    except ValueError as broken:
        raise ParamsError(f"{source}: not valid JSON: {broken}; run `dvc repro`") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{source}: must be a JSON object; run `dvc repro`")
    return tree


def _is_number(value: Any) -> bool:
    """Whether a value can be judged; JSON also has text, null and, from Python, NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def as_json(verdicts: list[Verdict]) -> str:
    """The judgement for programs."""
    return json.dumps([asdict(v) | {"worse": v.worse} for v in verdicts], indent=2)


def print_table(dataset: str, verdicts: list[Verdict]) -> None:
    """The judgement for people, on stdout, worst first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("", "metric", "better", box=box.SIMPLE_HEAD, title=f"gate: {dataset}")
    for column in ("baseline", "now", "worse by", "allowed"):
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
    if not console.is_terminal:  # a log has no width to fit into
        console.width = 160
    console.print(table)
    for v in verdicts:
        if v.worse:
            console.print(
                f"{v.metric} got worse: from {v.baseline:.5g} to {v.value:.5g}, "
                f"by {v.change:.2g} where {v.allowed:.2g} is allowed",
                highlight=False,
            )
    if not any(v.worse for v in verdicts):
        console.print(f"gate passed: {len(verdicts)} metrics", highlight=False)


def _read_policy(project: Project) -> Policy:
    path = project.root / "gate.yaml"
    document = read_yaml(path)
    mistakes = find_mistakes(Policy, document)
    if mistakes:
        raise refusal(mistakes, document, path)
    return Policy.model_validate(document)


def _read_baseline(project: Project, dataset: str) -> dict[str, Any]:
    path = project.baselines / f"{dataset}.json"
    try:
        metrics = read_json(path)["metrics"]
        for metric, accepted in metrics.items():
            if not all(_is_number(accepted[key]) for key in ("mean", "std", "n")):
                raise ParamsError(f"{path}: {metric} is not finite; accept a new baseline")
        return metrics
    except FileNotFoundError:
        raise ParamsError(
            f"no baseline {path}; after a run you trust, write it with `latentlab gate --accept`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise ParamsError(f"{path} is not a baseline ({broken}); accept a new one") from None


def _nearest(metric: str, source: dict[str, Any]) -> str:
    close = difflib.get_close_matches(metric, source, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
