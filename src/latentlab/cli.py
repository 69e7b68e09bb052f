"""The command line: parse, validate, print and launch; heavy packages are imported on demand."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentlab import __version__
from latentlab.common import startup
from latentlab.common.errors import (
    BUG,
    ENVIRONMENT,
    EXIT_CODES,
    INTERRUPTED,
    REGRESSION,
    SUCCESS,
    TERMINATED,
    LatentlabError,
    ParamsError,
    describe_bug,
)
from latentlab.common.project import FOREACH_STAGES, Project, find_project

if TYPE_CHECKING:
    from latentlab.params.schema import Params

STAGES = {
    "fetch": "Find, verify and split the dataset named in params.yaml.",
    "search": "Search for hyperparameters of the autoencoder.",
    "train": "Train the convolutional autoencoder.",
    "compare": "Train the autoencoder for each value of the comparison NAME.",
    "denoise": "Train the denoising networks.",
    "finetune": "Train a classifier on the trained encoder.",
    "reference": "Train the classifier that is used to evaluate generated images.",
    "vae": "Train the variational autoencoder.",
    "gan": "Train the deep convolutional GAN.",
    "evaluate": "Evaluate every model on the test split.",
    "report": "Write the report and the explorer of the latent space.",
}
"""Help text of each stage."""

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {EXIT_CODES[code]}" for code in EXIT_CODES)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="latentlab")
def cli() -> None:
    """Learn, compare and explain latent representations of images.

    `dvc repro` runs all stages that are out of date, and `mlflow ui` shows their runs. The commands
    below run a single stage, or examine its results.
    """


# --- Stages ---------------------------------------------------------------------------------------


def _add_stage(name: str, summary: str) -> None:
    @click.option("--dry-run", is_flag=True, help="Validate and print the parameters, then stop.")
    def command(
        dry_run: bool, entry: str = "", status: bool = False, as_json: bool = False
    ) -> None:
        if status:
            from latentlab.commands.search_status import print_studies

            print_studies(*_load(), as_json)
        else:
            _run_stage(name, entry, dry_run)

    if name == "search":
        as_json = click.option("--json", "as_json", is_flag=True, help="With --status: print JSON.")
        status = click.option("--status", is_flag=True, help="Print the progress of the study.")
        command = status(as_json(command))
    if name in FOREACH_STAGES:
        command = click.argument("entry", metavar="NAME")(command)
    cli.command(name, help=summary)(command)


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)


def _run_stage(stage: str, entry: str, dry_run: bool) -> None:
    """Run a stage, or one entry of it such as `compare.depth`; a dry run prints its parameters."""
    project, params = _load(stage)
    section_name = "data" if stage == "fetch" else stage
    section = params.tree().get(section_name, {})  # the report has no parameters of its own
    if entry:
        if entry not in section:
            raise ParamsError(
                f"{project.params}: {stage}.{entry} does not exist. "
                f"Allowed: {', '.join(section) or 'none'}"
            )
        section, section_name = section[entry], f"{section_name}.{entry}"
    if dry_run:
        if stage == "fetch":
            from latentlab.data.sources import find_local

            find_local(params.data.name, project.data)
        _print_json({"runtime": params.tree()["runtime"], section_name: section})
        return
    from latentlab.pipeline.launch import run_stage

    run_stage(project, f"{stage}@{entry}" if entry else stage, params)


def _load(stage: str = "") -> "tuple[Project, Params]":
    """Return the repository of the working directory, and its parameters, checked for a stage."""
    from latentlab.params.load import load_params

    project = find_project()
    return project, load_params(project.params, stage)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


# --- Parameters and metrics -----------------------------------------------------------------------


@cli.command()
@click.argument("dataset")
@click.option("--image-size", type=int, help="Pixels; by default of the smallest image, up to 32.")
@click.option("--force", is_flag=True, help="Replace an existing profile.")
def init(dataset: str, image_size: int | None, force: bool) -> None:
    """Inspect DATASET and write a profile with settings that fit it."""
    from latentlab.commands.init import show_profile

    show_profile(find_project(), dataset, image_size, force)


@cli.command()
@click.argument("name")
def profile(name: str) -> None:
    """Merge profiles/NAME.yaml into params.yaml, keeping comments."""
    from latentlab.commands.profile import apply_profile

    changes = apply_profile(find_project(), name)
    for change in changes:
        click.echo(change)
    click.echo(f"params.yaml: {len(changes)} values changed by profile '{name}'", err=True)


_REPORTS = click.Choice(["table", "json", "markdown", "junit"])


@cli.command()
@click.option("--accept", is_flag=True, help="Accept the current metrics as the new baseline.")
@click.option("--add", is_flag=True, help="With --accept: add this run to the baseline.")
@click.option("--calibrate", type=click.IntRange(2), help="Run N seeds and accept all of them.")
@click.option("--reason", help="With --accept or --calibrate: why worse metrics are accepted.")
@click.option("--history", metavar="METRIC", help="Show the accepted values of METRIC over time.")
@click.option("--against", help="Git revision, file of a baseline, run:ID or models:/NAME@ALIAS.")
@click.option("--stale-ok", is_flag=True, help="Do not ask DVC whether the outputs are current.")
@click.option("--format", "output_format", type=_REPORTS, default="table", help="Report format.")
@click.option("--verbose", is_flag=True, help="List the metrics without a rule.")
def gate(**options: Any) -> None:
    """Compare the current metrics with the accepted baseline."""
    from latentlab.commands.gate import GateOptions, run_gate

    sys.exit(run_gate(GateOptions(**options)))


@cli.command()
@click.argument("section", default="train")
@click.option("--json", "as_json", is_flag=True, help="Print the layers as JSON.")
def describe(section: str, as_json: bool) -> None:
    """Print the layers of a network, with parameters and operations.

    SECTION of params.yaml is train (the default), finetune, reference, vae, gan (its generator),
    discriminator, or an entry of denoise. Shapes omit the batch dimension. One operation is one
    multiplication or addition.
    """
    from latentlab.commands import describe as describe_module

    layers = describe_module.describe(*_load(), section)
    if as_json:
        _print_json(describe_module.as_tree(layers))
    else:
        describe_module.print_layers(section, layers)


@cli.command()
@click.option("--here", is_flag=True, help="List the run that produced each output in outputs/.")
@click.option("--filter", "expression", help="Condition, in MLflow's search syntax.")
@click.option("--sort", help="Metric, parameter or attribute; -NAME puts the largest first.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows shown.")
@click.option("--dataset", help="Name of a dataset; by default that of params.yaml.")
@click.option("--nested", is_flag=True, help="Also list trials, folds and other nested runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with all metrics.")
def runs(here: bool, as_json: bool, **query: Any) -> None:
    """Print a table of the runs in the MLflow store, newest first.

    A filter is written in MLflow's search syntax, such as "tags.stage = 'train'" or
    "params.`train.model.latent_dim` = '8'". In the table, an asterisk marks a commit with
    uncommitted changes. With --here, the column `match` says how a run matches the files in
    outputs/: `exact`; `inputs changed` if the run wrote them, but code, parameters or inputs have
    changed since; `outputs changed` if it wrote other files.
    """
    from latentlab.commands import runs as runs_module
    from latentlab.tracking.queries import list_runs

    project, params = _load()
    if here:
        if any(value for name, value in query.items() if name != "limit"):
            raise click.UsageError("--here can only be combined with --json")
        runs_module.show_origins(project, params, as_json)
    else:
        found = list_runs(project, **query | {"dataset": query["dataset"] or params.data.name})
        runs_module.show_runs(found, (query["sort"] or "").removeprefix("-"), as_json)


@cli.command()
@click.option("--stale-ok", is_flag=True, help="Do not ask DVC whether the outputs are current.")
def promote(stale_ok: bool) -> None:
    """Register the models, as champions if the gate passes.

    The models in outputs/ become versions of registered models in MLflow, with the alias
    `challenger`. If `latentlab gate` passes, they also get the alias `champion`, and the champions
    that they replace the alias `previous`.
    """
    from latentlab.commands.promote import promote

    sys.exit(SUCCESS if promote(*_load(), stale_ok) else REGRESSION)


@cli.command()
def rollback() -> None:
    """Make the previous champions the champions again."""
    from latentlab.commands.promote import rollback

    rollback(find_project())


# --- Latent spaces --------------------------------------------------------------------------------

_MODEL = click.option(
    "--model",
    default="autoencoder",
    show_default=True,
    help="autoencoder, vae, or an entry of denoise that has latent codes.",
)
_PATH = click.Path(path_type=Path)
_FOLDER = click.option(
    "--out", default="latent", show_default=True, type=_PATH, help="Folder for the plots."
)


@cli.command()
@_MODEL
@click.option(
    "--split",
    type=click.Choice(["train", "validation"]),
    default="validation",
    show_default=True,
    help="Images to encode.",
)
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print the metrics on one line.")
def latent(model: str, split: str, out: Path, as_json: bool) -> None:
    """Compute metrics and plots of a trained model's latent space."""
    from latentlab.commands.explore import examine

    metrics = examine(*_load(), model, split, out)
    click.echo(json.dumps(metrics, indent=None if as_json else 2))
    click.echo(f"plots: {out}", err=True)


@cli.command()
@_MODEL
@click.option(
    "--at",
    "points",
    multiple=True,
    required=True,
    help="Coordinates of a latent code, such as -3,2; can be repeated.",
)
@_FOLDER
def decode(model: str, points: tuple[str, ...], out: Path) -> None:
    """Plot decoded latent codes and their nearest training images."""
    from latentlab.commands import explore

    codes = [explore.parse_coordinates(point) for point in points]
    target = out / f"{model}_decoded.png"
    explore.decode(*_load(), model, codes, target)
    click.echo(str(target))


@cli.command()
@click.argument("start")
@click.argument("end")
@_MODEL
@click.option("--steps", type=click.IntRange(3), default=10, show_default=True, help="Images.")
@_FOLDER
def walk(start: str, end: str, model: str, steps: int, out: Path) -> None:
    """Interpolate in latent space from START to END.

    Each of them is the name of a class (its mean code) or the number of a validation image, such as
    '#12'.
    """
    from latentlab.commands import explore

    _print_json(explore.walk(*_load(), model, (start, end), steps, out))
    click.echo(f"plots: {out}", err=True)


@cli.command()
def explore() -> None:
    """Open the explorer of the latent spaces in the browser."""
    from latentlab.commands.explore import open_explorer

    click.echo(open_explorer(find_project()))


# --- Environment ----------------------------------------------------------------------------------


@cli.command()
@click.option("--fix", is_flag=True, help="First let a moved or copied store find its files.")
def doctor(fix: bool) -> None:
    """Check the environment and the repository, and suggest fixes."""
    from latentlab.commands.doctor import examine, repair

    project = find_project()
    if fix:
        repair(project)
    findings = examine(project)
    for finding in findings:
        click.echo(finding.line)
    sys.exit(ENVIRONMENT if any(finding.fatal for finding in findings) else SUCCESS)


@cli.command()
@click.option("--port", default=5000, show_default=True, help="Port of the UI on this computer.")
def ui(port: int) -> None:
    """Open MLflow's UI and print the address of the table of runs."""
    from latentlab.commands.store import open_ui

    open_ui(*_load(), port)


@cli.command()
def sync() -> None:
    """Send runs that an MLflow server has not received."""
    from latentlab.commands.store import send_all

    send_all(find_project())


@cli.command()
def schema() -> None:
    """Write params.schema.json and docs/reference/params.md."""
    from latentlab.commands.schema import write_schema

    click.echo("\n".join(map(str, write_schema(find_project().root))))


# --- Entry points ---------------------------------------------------------------------------------


def main() -> None:
    """Run the command line; an error that a user can cause becomes one message and an exit code."""
    startup.raise_on_termination()
    try:
        cli(standalone_mode=False)
    except LatentlabError as error:
        # imported here: multiprocessing must register its exit functions after `exit_at_end`
        from latentlab.common.processes import wait_if_worker_rank

        wait_if_worker_rank()
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{Path(error.filename)}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror or error}", err=True)
        sys.exit(ENVIRONMENT)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except startup.Terminated:
        sys.exit(TERMINATED)


def run() -> None:
    """Run `main` as the console script, then exit without tearing down torch."""
    status: int | str | None = BUG
    startup.exit_at_end(lambda: status)
    startup.limit_thread_spinning()
    try:
        main()
        status = SUCCESS
    except SystemExit as request:
        status = request.code
    except Exception as error:
        click.echo(describe_bug(error), err=True)
