"""`latentlab promote` and `rollback`: which registered models are the champions."""

from latentlab.commands.gate import judge
from latentlab.common.progress import note, output_console
from latentlab.common.project import Project
from latentlab.gate.outputs import read_metrics
from latentlab.gate.report import describe_change
from latentlab.params.schema import Params
from latentlab.tracking.registry import Standing, register_outputs, roll_back


def promote(project: Project, params: Params, stale_ok: bool) -> bool:
    """Register the models in `outputs/`, print their versions, and return whether the gate passed.

    Raises the errors of `judge` and `register_outputs`.
    """
    dataset = params.data.name
    report = judge(project, params, stale_ok)
    verdict = report.verdict
    assert verdict is not None, "judge raises an error instead"
    results = read_metrics(project, dataset)
    standings = register_outputs(project, dataset, results, report.summary, verdict.passed)
    _print_table(standings)
    for each in verdict.worse:
        note(f"worse: {describe_change(each)}")
    champions = "up to date" if verdict.passed else "unchanged"
    note(f"gate {report.summary}; champions {champions}")
    return verdict.passed


def rollback(project: Project) -> None:
    """Restore the previous champions and print them."""
    _print_table(roll_back(project))


def _print_table(standings: list[Standing]) -> None:
    from rich import box
    from rich.table import Table

    columns = ["model", "challenger", "champion", "previous"]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for each in standings:
        table.add_row(each.name, each.challenger, each.champion, each.previous)
    output_console().print(table)
