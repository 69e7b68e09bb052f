"""The command line: parse, validate, launch. Nothing heavy is imported before a verb needs it."""

import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentlab import __version__
from latentlab.common import startup
from latentlab.common.errors import LatentlabError, ParamsError
from latentlab.common.processes import rank
from latentlab.common.project import FOREACH_STAGES, find_project

if TYPE_CHECKING:
    pass

STAGES = {
    "fetch": "Find, check and split the dataset named in params.yaml.",
    "search": "Search the ranges in search.space for the parameters of train.",
    "train": "Train the convolutional autoencoder.",
    "compare": "Train the autoencoder for each value of a comparison NAME.",
    "denoise": "Train the networks that restore corrupted images.",
    "finetune": "Train a classifier on the trained encoder.",
    "reference": "Train the classifier in whose features generated images are judged.",
    "vae": "Train the variational autoencoder.",
    "gan": "Train the deep convolutional GAN.",
    "evaluate": "Judge every model on the test split.",
}


INTERRUPTED = 130
TERMINATED = 143
SECONDS_TO_BE_ENDED = 30.0
"""How long a worker rank waits for `torchrun` to end it after the main rank has failed."""

EPILOG = """\b
Exit codes: 0 done; 1 the gate found a metric that got worse; 2 a mistake in params.yaml or on the
command line; 3 data missing, corrupt or not to be fetched; 4 the tracking store, the disk, the
device or an earlier stage's output is not usable; 130 interrupted; 143 terminated."""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="latentlab")
def cli() -> None:
    """Learn, compare and explain latent representations of images.

    Most people type `dvc repro` and `mlflow ui`; a verb per stage runs that stage alone.
    """


def _add_stage(name: str, summary: str) -> None:
    @click.option("--dry-run", is_flag=True, help="Validate, print the parameters, run nothing.")
    def command(dry_run: bool, member: str = "", status: bool = False, json: bool = False) -> None:
        if status:
            _print_status(json)
        else:
            _run_stage(name, member, dry_run)

    if name == "search":
        command = click.option("--json", is_flag=True, help="With --status: as JSON.")(command)
        command = click.option("--status", is_flag=True, help="Say how far the study is.")(command)
    if name in FOREACH_STAGES:
        command = click.argument("member", metavar="NAME")(command)
    cli.command(name, help=summary)(command)


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)


def _run_stage(verb: str, member: str, dry_run: bool) -> None:
    from latentlab.params.load import load_params

    project = find_project()
    params = load_params(project.params)
    steered_by = "data" if verb == "fetch" else verb
    section = params.tree()[steered_by]
    if member:
        if member not in section:
            raise ParamsError(
                f"{project.params} has no {verb}.{member}; there are: {', '.join(section)}"
            )
        section = section[member]
    if dry_run:
        if verb == "fetch":
            from latentlab.data.sources import find

            find(params.data.name, project.data)
        shown = {"runtime": params.tree()["runtime"], f"{steered_by}.{member}".rstrip("."): section}
        click.echo(json.dumps(shown, indent=2))
        return
    from latentlab.pipeline.launch import run_stage

    run_stage(project, f"{verb}@{member}" if member else verb, params)


def _print_status(as_json: bool) -> None:
    """How far the studies are that params.yaml describes."""
    from latentlab.commands.search_status import print_status, read_status
    from latentlab.params.load import load_params
    from latentlab.pipeline.fingerprint import study_folder

    project = find_project()
    params = load_params(project.params)
    studies = {
        "search": ("search", params.search),
        "finetune": ("finetune.search", params.finetune.search),
    }
    found = {
        name: read_status(study_folder(project, name, section, params), settings)
        for name, (section, settings) in studies.items()
        if settings is not None
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, status in found.items():
        print_status(name, status)


@cli.command()
@click.argument("name")
def profile(name: str) -> None:
    """Merge profiles/NAME.yaml into params.yaml, keeping its comments."""
    from latentlab.commands.profile import apply_profile

    changes = apply_profile(find_project(), name)
    for change in changes:
        click.echo(change)
    click.echo(f"params.yaml: {len(changes)} values changed by profile '{name}'", err=True)


@cli.command()
@click.option("--accept", is_flag=True, help="Write the metrics at hand as the new baseline.")
@click.option("--add", is_flag=True, help="With --accept: one more run for its mean and spread.")
@click.option("--json", "as_json", is_flag=True, help="Print the judgement as JSON.")
def gate(accept: bool, add: bool, as_json: bool) -> None:
    """Compare the metrics at hand with the accepted baseline of the dataset.

    Exit code 0 where all is well, 1 where a metric got worse, 2 where it cannot be judged.
    """
    from latentlab.gate import gate as gate_module
    from latentlab.params.load import load_params

    if add and not accept:
        raise click.UsageError("--add goes with --accept")
    project = find_project()
    dataset = load_params(project.params).data.name
    if accept:
        click.echo(gate_module.accept(project, dataset, add), err=True)
        return
    verdicts = gate_module.compare_with_baseline(project, dataset)
    if as_json:
        click.echo(gate_module.as_json(verdicts))
    else:
        gate_module.print_table(dataset, verdicts)
    sys.exit(1 if any(verdict.worse for verdict in verdicts) else 0)


@cli.command()
@click.argument("section", default="train")
@click.option("--json", "as_json", is_flag=True, help="Print the layers as JSON.")
def describe(section: str, as_json: bool) -> None:
    """Print the network of a SECTION of params.yaml, layer by layer (train where none is named).

    SECTION is train, finetune, reference, vae, gan (its generator), discriminator, or an entry of
    denoise.
    Shapes are without the batch; an operation is one multiplication or one addition.
    """
    from latentlab.commands import describe as describe_module
    from latentlab.params.load import load_params

    project = find_project()
    layers = describe_module.describe(project, load_params(project.params), section)
    if as_json:
        click.echo(json.dumps(describe_module.as_tree(layers), indent=2))
    else:
        describe_module.print_layers(section, layers)


_MODEL = click.option(
    "--model", default="autoencoder", help="autoencoder, vae, or a denoiser with a code."
)
_FOLDER = click.option(
    "--out", default="latent", type=click.Path(path_type=Path), help="Folder for the pictures."
)


@cli.command()
@_MODEL
@click.option("--split", type=click.Choice(["train", "validation"]), default="validation")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print the figures on one line.")
def latent(model: str, split: str, out: Path, as_json: bool) -> None:
    """Examine the latent space of a trained model: figures, maps, density, walks."""
    from latentlab.commands.explore import examine
    from latentlab.params.load import load_params

    project = find_project()
    figures = examine(project, load_params(project.params), model, split, out)
    click.echo(json.dumps(figures, indent=None if as_json else 2))
    click.echo(f"pictures: {out}", err=True)


@cli.command()
@_MODEL
@click.option("--at", "points", multiple=True, required=True, help="A code: -3,2; or several.")
@_FOLDER
def decode(model: str, points: tuple[str, ...], out: Path) -> None:
    """Draw the image of a code, beside the training images whose codes are the nearest."""
    from latentlab.commands import explore
    from latentlab.params.load import load_params

    project = find_project()
    codes = [_coordinates(point) for point in points]
    target = out / f"{model}_decoded.png"
    explore.decode(project, load_params(project.params), model, codes, target)
    click.echo(str(target))


def _coordinates(point: str) -> list[float]:
    try:
        coordinates = [float(value) for value in point.split(",")]
    except ValueError:
        coordinates = []
    if not coordinates or not all(map(math.isfinite, coordinates)):
        raise ParamsError(f"--at '{point}': write numbers with commas, such as -3,2")
    return coordinates


@cli.command()
@click.argument("start")
@click.argument("end")
@_MODEL
@click.option("--steps", type=click.IntRange(min=3), default=10)
@_FOLDER
def walk(start: str, end: str, model: str, steps: int, out: Path) -> None:
    """Walk from START to END: names of classes, or validation images by number, such as '#12'."""
    from latentlab.commands import explore
    from latentlab.params.load import load_params

    project = find_project()
    figures = explore.walk(project, load_params(project.params), model, (start, end), steps, out)
    click.echo(json.dumps(figures, indent=2))
    click.echo(f"pictures: {out}", err=True)


@cli.command()
def doctor() -> None:
    """Say what is wrong with this checkout and machine, and how to mend it."""
    from latentlab.commands.doctor import examine

    findings = examine(find_project())
    for finding in findings:
        click.echo(finding.line)
    sys.exit(4 if any(finding.fatal for finding in findings) else 0)


def main() -> None:
    """Run the command line; errors a person can cause end in one message and an exit code."""
    startup.raise_on_termination()
    try:
        cli(standalone_mode=False)
    except LatentlabError as error:
        if rank() > 0:
            # what is wrong is wrong in all: the first says it, and torchrun then ends the others
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(SECONDS_TO_BE_ENDED)
        else:
            click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{Path(error.filename)}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror or error}", err=True)
        sys.exit(LatentlabError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except startup.Terminated:
        sys.exit(TERMINATED)


def run() -> None:
    """Run `main` as the console script, and exit without tearing down torch."""
    status: int | str | None = 1
    startup.exit_at_end(lambda: status)
    startup.limit_thread_spinning()
    try:
        main()
        status = 0
    except SystemExit as left:
        status = left.code
