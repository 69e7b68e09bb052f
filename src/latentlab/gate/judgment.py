"""The comparison of the metrics in `outputs/` with a baseline, as a report."""

from typing import Any

from latentlab.common.errors import ParamsError
from latentlab.common.project import Project
from latentlab.evaluation.examples import read_examples
from latentlab.gate.against import Opponent, find_differences, find_opponent
from latentlab.gate.baseline import AcceptedRun, Baseline
from latentlab.gate.outputs import is_labeled, output_examples, read_metrics
from latentlab.gate.policy import Policy, matches
from latentlab.gate.provenance import describe_run, find_profile
from latentlab.gate.report import Report
from latentlab.gate.verdict import compare
from latentlab.params.schema import Params


def judge_outputs(project: Project, params: Params, against: str | None = None) -> Report:
    """Compare the metrics in `outputs/` with the baseline of their profile, or `against` another.

    Whether the outputs are current is not checked. Raises ParamsError if the gate cannot judge: the
    policy or the baseline is invalid, or required metrics are missing.
    """
    dataset = params.data.name
    values = read_metrics(project, dataset)
    profile = find_profile(project)
    other = find_opponent(project, profile, against)
    _check_identity(other.baseline, dataset, profile, other.source)
    source = output_examples(project)
    examples = (
        (other.examples, read_examples(source)) if other.examples and source.is_file() else None
    )
    policy = other.policy.for_dataset(is_labeled(project))
    _check_labels(other, policy)
    verdict = compare(policy, other.baseline, values, other.source, examples)
    now = describe_run(project, params.tree(), values)
    return Report(
        dataset,
        verdict,
        policy,
        {"source": other.source, **_side(other.baseline.runs)},
        {"source": "outputs/", **_side([now])},
        find_differences(project, other, now),
    )


def _check_identity(baseline: Baseline, dataset: str, profile: str, where: str) -> None:
    """Raise ParamsError if a baseline belongs to another dataset or profile."""
    expected = {"dataset": dataset, "profile": profile}
    for name, value in expected.items():
        if (actual := getattr(baseline, name)) != value:
            raise ParamsError(
                f"{where} is the baseline of the {name} '{actual}', but the outputs belong to the "
                f"{name} '{value}'"
            )


def _check_labels(other: Opponent, policy: Policy) -> None:
    """Raise ParamsError if the outputs lack class labels, on which metrics of a baseline depend."""
    rules = other.policy.metrics.keys() - policy.metrics.keys()
    of_labels = [
        each for each in other.baseline.metrics if any(matches(rule, each) for rule in rules)
    ]
    if of_labels:
        raise ParamsError(
            f"{other.source} has metrics of images with class labels ({of_labels[0]}), but the "
            "images in outputs/ have none. Restore data.labels, or accept the outputs as the new "
            'baseline with `latentlab gate --accept --reason "..."`'
        )


def _side(runs: list[AcceptedRun]) -> dict[str, Any]:
    """Return the provenance of runs without their metrics."""
    return {"runs": [run.model_dump(exclude={"metrics"}) for run in runs]}
