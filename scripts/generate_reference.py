"""Write the pages in docs/reference about commands, exit codes, artifacts, metrics and datasets.

`make reference` runs this script and `latentlab schema`, which writes the page about parameters.
Commands, exit codes and datasets come from the code, artifacts from dvc.yaml. The sentences about
artifacts and the rows about metrics are in scripts/reference.yaml; tests check that none is
missing.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from latentlab.cli import STAGES, cli
from latentlab.common.errors import EXIT_CODES
from latentlab.common.files import write_text
from latentlab.data.torchvision_catalog import PREFIX, TORCHVISION, UNSUPPORTED
from latentlab.pipeline.headlines import HEADLINES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTICE = "<!-- Written by `make reference`; do not edit. -->\n\n"
TEXTS = YAML(typ="safe").load(ROOT / "scripts" / "reference.yaml")

EXIT_CODES_PAGE = """\
# Exit codes

Every `latentlab` command exits with one of these codes:

| code | meaning |
|--:|---|
{rows}

`make` replaces every code other than 0 by 2, and `dvc repro` by 255. To act on the code, run the
`latentlab` command itself.
"""

ARTIFACTS_PAGE = """\
# Artifacts

What each stage of `dvc.yaml` reads and writes. Metrics are tracked by Git; all other outputs are
stored in the cache of DVC. A stage runs again if one of its inputs, parameters or source folders
changes.

{stages}
## Other files

| path | contents |
|---|---|
{others}
"""

DATASETS_PAGE = """\
# Datasets of torchvision

The values of `data.name` for [datasets of torchvision](../how-to/torchvision-datasets.md). Official
splits are kept; others are drawn from the training images. Options are required, as keys of
`data.options`.

| name | official splits | options | license |
|---|---|---|---|
{rows}

Licenses are those that the sources state. Check them before you use or share images.

## Classes that are not supported

| reason | classes |
|---|---|
{others}
"""

METRICS_PAGE = """\
# Metrics

A name is a path: the folder in `outputs/`, then the keys in its `metrics.json`. `gate.yaml` and
`baselines/` use these names. MLflow has [some of them](#in-mlflow).

Pixels are in [0, 1], so a squared pixel is a number between 0 and 1. What the metrics mean is
explained in [latent spaces](../explanation/latent-spaces.md) and
[generators](../explanation/generators.md).

| name | unit | split | stage | meaning |
|---|---|---|---|---|
{rows}

A placeholder matches one part of a name. Some have a fixed set of values:

| placeholder | values |
|---|---|
{placeholders}

For each epoch of a training, MLflow and `history.csv` also contain `learning_rate` and every loss
term, as `train/<term>` and `validation/<term>`. MLflow contains the duration of the training in
`seconds`.

## In MLflow

The runs of stages have these metrics as columns, without the folder in their names. `*` stands for
one part of a name. All metrics are in the artifact `metrics.json` of the run.

| stage | metrics |
|---|---|
{headlines}
"""


@dataclass(frozen=True)
class Metric:
    """The metrics whose names match `pattern`, such as `evaluate/test/<model>/mse`."""

    pattern: str
    unit: str
    split: str
    meaning: str

    def matches(self, name: str) -> bool:
        """Return whether this row describes the metric `name`."""
        parts = re.split(r"(<\w+>)", self.pattern)
        expression = "".join(
            _placeholder(part) if part.startswith("<") else re.escape(part) for part in parts
        )
        return re.fullmatch(expression, name) is not None

    @property
    def stage(self) -> str:
        """The stage that writes these metrics."""
        first = self.pattern.partition("/")[0]
        return "all that train" if first == "<training>" else f"`{first}`"


def _placeholder(name: str) -> str:
    """Return the regular expression of a placeholder."""
    values = TEXTS["placeholders"].get(name, ["*"])
    return f"(?:{'|'.join(re.escape(value).replace(re.escape('*'), '[^/]+') for value in values)})"


METRICS = [Metric(pattern, *row) for pattern, row in TEXTS["metrics"].items()]


def pages() -> dict[Path, str]:
    """Return the text of every generated page by its path."""
    texts = {
        "cli": cli_page(),
        "exit-codes": exit_codes_page(),
        "artifacts": artifacts_page(),
        "metrics": metrics_page(),
        "datasets": datasets_page(),
    }
    return {FOLDER / f"{name}.md": NOTICE + text for name, text in texts.items()}


def cli_page() -> str:
    """Return the page about the commands of `latentlab`."""
    lines = ["# Commands", "", _help_of(cli), ""]
    lines += ["Every command exits with one of the [exit codes](exit-codes.md).", ""]
    stages = [name for name in cli.commands if name in STAGES]
    others = [name for name in cli.commands if name not in STAGES]
    for title, names in (("Stages", stages), ("Other commands", others)):
        lines += [f"## {title}", ""]
        for name in names:
            lines += _lines_about(cli.commands[name], name)
    return "\n".join(lines).rstrip() + "\n"


def _lines_about(command: click.Command, name: str) -> Iterator[str]:
    """Yield usage, help and options of a command."""
    context = click.Context(command, info_name=f"latentlab {name}", **cli.context_settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield from (f"### latentlab {name}", "", "```", " ".join(usage.split()), "```", "")
    yield from (_help_of(command), "")
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        yield from ("| option | meaning |", "|---|---|")
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            names, text = (each.replace("|", "\\|") for each in record)
            yield f"| `{names}` | {' '.join(text.split())} |"
    if options:
        yield ""


def _help_of(command: click.Command) -> str:
    """Return the help text of a command with one line per paragraph."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def exit_codes_page() -> str:
    """Return the page about exit codes."""
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return EXIT_CODES_PAGE.format(rows="\n".join(rows))


def artifacts_page() -> str:
    """Return the page about what every stage in dvc.yaml reads and writes."""
    lines: list[str] = []
    for stage, declared in declared_stages().items():
        lines += [f"## {stage}", "", "| | path | contents |", "|---|---|---|"]
        lines += [
            f"| {kind} | `{path}` | {TEXTS['artifacts'][path]} |"
            for kind, path in declared_files(declared)
        ]
        sources = [dep for dep in declared["deps"] if dep.startswith("src/")]
        for title, names in (("Parameters", declared["params"]), ("Source code", sources)):
            listed = ", ".join(f"`{_with_name(name)}`" for name in names)
            lines += ["", f"{title}: {listed}."]
        lines.append("")
    others = [f"| `{path}` | {text} |" for path, text in TEXTS["other_files"].items()]
    return ARTIFACTS_PAGE.format(stages="\n".join(lines), others="\n".join(others))


def datasets_page() -> str:
    """Return the page about the datasets of torchvision."""
    rows = []
    for name, entry in TORCHVISION.items():
        options = [
            f"`{option}`: {', '.join(f'`{value}`' for value in allowed)}"
            for option, allowed in entry.options.items()
        ]
        cells = (
            f"[{PREFIX}{name}]({entry.homepage})",
            ", ".join(entry.splits) if len(entry.splits) > 1 else "none",
            "; ".join(options),
            entry.license or "not stated",
        )
        rows.append(f"| {' | '.join(cells)} |")
    others = [f"| {reason} | {', '.join(names)} |" for reason, names in UNSUPPORTED.items()]
    return DATASETS_PAGE.format(rows="\n".join(rows), others="\n".join(others))


def declared_stages() -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml; `compare@<name>` stands for all comparisons."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    return {
        f"{name}@<name>" if "do" in declared else name: declared.get("do", declared)
        for name, declared in stages.items()
    }


def declared_files(declared: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and path of every file and folder of a stage, except source code."""
    kinds = {"deps": "input", "outs": "output", "metrics": "metrics", "plots": "plots"}
    for key, kind in kinds.items():
        for entry in declared.get(key, []):
            for path in [entry] if isinstance(entry, str) else entry:
                if not path.startswith("src/"):
                    yield kind, _with_name(path)


def _with_name(text: str) -> str:
    return text.replace("${key}", "<name>")


def metrics_page() -> str:
    """Return the page about the metrics."""
    rows = [
        f"| `{row.pattern}` | {row.unit} | {row.split} | {row.stage} | {row.meaning} |"
        for row in METRICS
    ]
    placeholders = [
        f"| `{name}` | {', '.join(f'`{value}`' for value in values)} |"
        for name, values in TEXTS["placeholders"].items()
    ]
    headlines = [
        f"| `{stage}` | {', '.join(f'`{name}`' for name in names) or 'none'} |"
        for stage, names in HEADLINES.items()
    ]
    return METRICS_PAGE.format(
        rows="\n".join(rows),
        placeholders="\n".join(placeholders),
        headlines="\n".join(headlines),
    )


if __name__ == "__main__":
    for path, text in pages().items():
        write_text(path, text)
