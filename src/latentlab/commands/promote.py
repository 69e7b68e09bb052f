"""`latentlab promote` and `rollback`: which registered models are the champions."""

from latentlab.common.progress import note, output_console
from latentlab.common.project import Project
from latentlab.gate.gate import Verdict, compare_with_baseline, describe_worse, read_metrics
from latentlab.params.schema import Params
from latentlab.tracking.registry import Standing, register_outputs, roll_back


def promote(project: Project, params: Params) -> bool:
    """Register the models in `outputs/`, print their versions, and return whether the gate passed.

    Raises the errors of `compare_with_baseline` and `register_outputs`.
    """
    dataset = params.data.name
    verdicts = compare_with_baseline(project, dataset)
    worse = [verdict for verdict in verdicts if verdict.worse]
    results = read_metrics(project, dataset)
    standings = register_outputs(project, dataset, results, _summary(verdicts, worse), not worse)
    _print_table(standings)
    for verdict in worse:
        note(f"worse: {describe_worse(verdict)}")
    note(f"gate {_summary(verdicts, worse)}; champions {'unchanged' if worse else 'up to date'}")
    return not worse


def rollback(project: Project) -> None:
    """Restore the previous champions and print them."""
    _print_table(roll_back(project))


def _summary(verdicts: list[Verdict], worse: list[Verdict]) -> str:
    if worse:
        return f"failed: {', '.join(verdict.metric for verdict in worse)}"
    return f"passed: {len(verdicts)} metrics"


def _print_table(standings: list[Standing]) -> None:
    from rich import box
    from rich.table import Table

    columns = ["model", "challenger", "champion", "previous"]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for each in standings:
        table.add_row(each.name, each.challenger, each.champion, each.previous)
    output_console().print(table)
