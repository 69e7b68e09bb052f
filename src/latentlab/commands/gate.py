"""`latentlab gate`: judge the metrics in `outputs/`, and accept them as a baseline."""

import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from latentlab.common.errors import REGRESSION, SUCCESS, LatentlabError, ParamsError
from latentlab.common.files import atomic_path, sha256_of
from latentlab.common.progress import note
from latentlab.common.project import Project, find_project
from latentlab.gate import report as reports
from latentlab.gate.baseline import (
    Baseline,
    baseline_path,
    examples_path,
    read_baseline,
    with_run,
    write_baseline,
)
from latentlab.gate.calibrate import Runner, calibrated_runs, run_experiment
from latentlab.gate.history import accepted_values, print_history
from latentlab.gate.judgment import judge_outputs
from latentlab.gate.noise import MIN_RUNS
from latentlab.gate.outputs import is_labeled, output_examples, read_metrics
from latentlab.gate.policy import check_rules, read_policy
from latentlab.gate.provenance import describe_run, find_profile
from latentlab.gate.report import Report
from latentlab.gate.stale import check_current
from latentlab.gate.verdict import Verdict, check_values
from latentlab.params.load import load_params
from latentlab.params.schema import Params
from latentlab.pipeline.fingerprint import outputs_hash
from latentlab.tracking.results import tag_verdict

STALE = "the outputs were not checked against parameters, code and data (--stale-ok)"
FORMATS = {
    "json": reports.as_json,
    "markdown": reports.as_markdown,
    "junit": reports.as_junit,
}


class NotAccepted(ParamsError):
    """The outputs are not accepted, for a reason that follows from the report already printed."""


@dataclass(frozen=True)
class GateOptions:
    """The options of `latentlab gate`, as on the command line."""

    accept: bool = False
    add: bool = False
    calibrate: int | None = None
    reason: str | None = None
    history: str | None = None
    against: str | None = None
    stale_ok: bool = False
    output_format: str = "table"
    verbose: bool = False

    @property
    def accepting(self) -> bool:
        """Whether a baseline is to be written."""
        return self.accept or self.calibrate is not None

    def check(self) -> None:
        """Raise ParamsError for options that exclude or require each other."""
        if self.history is not None and self != GateOptions(
            history=self.history, output_format=self.output_format
        ):
            raise ParamsError("--history can only be combined with --format")
        if self.history is not None and self.output_format not in ("table", "json"):
            raise ParamsError("--history prints a table or, with --format json, JSON")
        if self.accept and self.calibrate is not None:
            raise ParamsError("--accept and --calibrate exclude each other")
        if self.add and not self.accept:
            raise ParamsError("--add requires --accept")
        if self.against is not None and self.accepting:
            raise ParamsError(
                "--against cannot be combined with --accept or --calibrate, which compare with the "
                "baseline"
            )
        if self.reason is not None and not self.accepting:
            raise ParamsError("--reason requires --accept or --calibrate")
        if self.reason is not None and not self.reason.strip():
            raise ParamsError('--reason is empty; state why, such as --reason "smaller network"')


def run_gate(options: GateOptions) -> int:
    """Run `latentlab gate` and return its exit code.

    An error that prevents a verdict is raised, and is also a report in all formats but the table.
    """
    try:
        options.check()
        project = find_project()
        params = load_params(project.params)
        if options.history:
            values = accepted_values(project, find_profile(project), options.history)
            print_history(options.history, values, options.output_format == "json")
            return SUCCESS
        if options.accepting:
            accept(project, params, options)
            return SUCCESS
        result = judge(project, params, options.stale_ok, options.against)
    except NotAccepted:
        raise
    except LatentlabError as error:
        _publish(Report(error=str(error)), options)
        raise
    _publish(result, options)
    if options.against is None:
        _tag_runs(project, result)
    return SUCCESS if result.verdict and result.verdict.passed else REGRESSION


def judge(
    project: Project, params: Params, stale_ok: bool = False, against: str | None = None
) -> Report:
    """Compare the metrics in `outputs/` with the baseline of their profile, or `against` another.

    Raises the errors of `judge_outputs`, and ParamsError if the outputs are not current.
    """
    if not stale_ok:
        check_current(project.root)
    report = judge_outputs(project, params, against)
    return replace(report, warnings=[STALE]) if stale_ok else report


def accept(
    project: Project, params: Params, options: GateOptions, runner: Runner = run_experiment
) -> None:
    """Write the metrics in `outputs/` as the baseline of their profile, or add them to it.

    With `calibrate`, the baseline gets runs with other seeds too. The comparison with the earlier
    baseline is printed first. Raises ParamsError if a metric became worse and there is no reason,
    and the errors of `judge` except those about the old baseline.
    """
    dataset = params.data.name
    if not options.stale_ok:
        check_current(project.root)
    values = read_metrics(project, dataset)
    profile = find_profile(project)
    policy = read_policy(project, profile).for_dataset(is_labeled(project))
    check_rules(policy, values, "outputs/")
    if problems := check_values({m: rule for m in values if (rule := policy.rule_of(m))}, values):
        raise ParamsError(
            "the metrics were not accepted; run `dvc repro` first:\n  " + "\n  ".join(problems)
        )
    from latentlab.models.device import select_device  # imports torch

    path = baseline_path(project.root, profile)
    device = str(select_device(params.runtime.device))
    run = describe_run(project, params.tree(), values).model_copy(update={"device": device})
    if run.fingerprint is None:
        raise ParamsError(f"{project.root / 'dvc.lock'} is missing; run `dvc repro` first")
    if options.stale_ok:
        run = run.model_copy(update={"note": STALE})
    added = with_run(read_baseline(path), run, path) if options.add else None
    earlier = None
    if path.is_file():
        earlier = _compare_before_acceptance(project, params, options)
    if added:
        baseline = added
    else:
        runs = [run]
        if options.calibrate:
            runs = calibrated_runs(
                project, dataset, policy, run, earlier, options.calibrate, runner
            )
        baseline = Baseline(
            dataset=dataset,
            profile=profile,
            accepted=None,
            reason=None,
            examples=_accept_examples(project, path),
            runs=runs,
        )
    today = datetime.now(UTC).isoformat(timespec="seconds")
    changes = {"accepted": today, "reason": options.reason or baseline.reason}
    write_baseline(path, baseline.model_copy(update=changes))
    count = len(baseline.runs)
    note(f"{path}: {count} {'run' if count == 1 else 'runs'} accepted; commit it")


def _accept_examples(project: Project, path: Path) -> str | None:
    """Copy the results per image next to the baseline; return their SHA-256, or None."""
    source = output_examples(project)
    if not source.is_file():
        return None
    path.parent.mkdir(exist_ok=True)
    with atomic_path(examples_path(path)) as temporary:
        shutil.copyfile(source, temporary)
    return sha256_of(source)


def _compare_before_acceptance(
    project: Project, params: Params, options: GateOptions
) -> Baseline | None:
    """Print the comparison with the earlier baseline; return it, or None if it is unusable.

    Raises ParamsError if a metric became worse, or if they cannot be compared, without a reason.
    """
    try:
        result = judge(project, params, stale_ok=True)
    except ParamsError as error:
        note(f"the metrics cannot be compared with the earlier baseline: {error}")
        obstacle = "they cannot be compared with the earlier baseline"
        baseline = None
    else:
        _publish(replace(result, warnings=[STALE] if options.stale_ok else []), options)
        assert result.verdict is not None, "judge raises an error instead"
        baseline = read_baseline(baseline_path(project.root, result.verdict.profile))
        obstacle = _obstacle(result.verdict, baseline, options)
    if obstacle and not options.reason:
        text = (
            f"the metrics were not accepted, because {obstacle}; if this is intended, state why "
            'with --reason "..."'
        )
        raise NotAccepted(text) if baseline else ParamsError(text)
    return baseline


def _obstacle(verdict: Verdict, baseline: Baseline, options: GateOptions) -> str:
    """Return why a baseline is only replaced with a reason, or an empty text."""
    if not verdict.passed:
        return f"{len(verdict.worse)} of them became worse"
    if len(baseline.runs) >= MIN_RUNS and options.accept and not options.add:
        return (
            f"they would replace {len(baseline.runs)} runs by one, whose noise is unknown (use "
            f"--calibrate {len(baseline.runs)} for runs of all seeds)"
        )
    return ""


def _tag_runs(project: Project, report: Report) -> None:
    """Tag the evaluated runs in MLflow; a store that cannot be used does not change the verdict."""
    verdict = report.verdict
    assert verdict is not None, "an error is not tagged"
    assert report.dataset is not None, "a verdict has a dataset"
    changes = [reports.describe_change(each) for each in verdict.comparisons if each.changed]
    digest = outputs_hash(project.outputs("evaluate"))
    try:
        tag_verdict(project, report.dataset, digest, report.summary, changes)
    except LatentlabError as error:
        note(f"warning: the verdict is not in MLflow: {error}")


def _publish(report: Report, options: GateOptions) -> None:
    """Print the report in the chosen format, and append it to the summary of a GitHub job."""
    if options.output_format in FORMATS:
        print(FORMATS[options.output_format](report))
    elif report.verdict:
        reports.print_table(report, options.verbose)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:
            file.write(reports.as_markdown(report))
