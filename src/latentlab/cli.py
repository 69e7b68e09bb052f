"""The command line: parse, validate, launch. Nothing heavy is imported before a verb needs it."""

import atexit
import gc
import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentlab import __version__, world
from latentlab.errors import LatentlabError, ParamsError
from latentlab.project import OF_SEVERAL, find_project

if TYPE_CHECKING:
    from latentlab.params.schema import Params
    from latentlab.project import Project

STAGES = {
    "fetch": "Find, check and split the dataset named in params.yaml.",
    "search": "Search the ranges in search.space for the parameters of train.",
    "train": "Train the convolutional autoencoder.",
    "compare": "Train the autoencoder for each value of a comparison NAME.",
    "denoise": "Train the networks that restore spoilt images.",
    "finetune": "Train a classifier on the trained encoder.",
    "reference": "Train the classifier in whose features generated images are judged.",
    "vae": "Train the variational autoencoder.",
    "gan": "Train the deep convolutional GAN.",
    "evaluate": "Judge every model on the test split.",
}


INTERRUPTED = 130
TERMINATED = 143
KNOCK_SECONDS = 10.0
SECONDS_TO_BE_ENDED = 30.0
SPINS = "3000"
"""How often a thread looks whether there is work before it sleeps: some ten microseconds."""

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
    if name in OF_SEVERAL:
        command = click.argument("member", metavar="NAME")(command)
    cli.command(name, help=summary)(command)


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)


def _run_stage(verb: str, member: str, dry_run: bool) -> None:
    from latentlab.params_file import load_params

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
    name = f"{verb}@{member}" if member else verb
    if world.size() > 1 and verb != "train":
        raise ParamsError(f"torchrun starts several processes; only train uses them, not {verb}")
    from latentlab.identity import identify
    from latentlab.tracking.run import track

    if _works_side_by_side(verb, params):
        from latentlab.parallel import warm_up

        warm_up()
    key = identify(project, name, params)
    if world.rank() > 0:
        _accompany(name, key, project, params)
        return
    with track(project, name, params.data.name, key) as run:
        # torch is imported from here on, while the recorder opens the store
        gc.disable()  # imports make millions of objects and hardly any garbage
        from latentlab.stages.stage import prepare_stage

        module = import_module(f"latentlab.stages.{verb}")
        stage = prepare_stage(name, key, project, params, run)
        gc.enable()
        module.run(stage)
    stage.forget_checkpoints()


def _accompany(name: str, key: str, project: "Project", params: "Params") -> None:
    """Be one of the processes that only help to train."""
    from latentlab.stages.stage import prepare_stage
    from latentlab.stages.train import accompany
    from latentlab.tracking.run import Run, Silence

    accompany(prepare_stage(name, key, project, params, Run(Silence())))


def _works_side_by_side(verb: str, params: "Params") -> bool:
    """Whether a stage starts processes."""
    if verb == "finetune":
        settings = params.finetune
        return settings.control or settings.search is not None or settings.labels is not None
    if verb == "train":
        return params.train.folds is not None
    return verb in ("search", "compare", "denoise")


def _print_status(as_json: bool) -> None:
    """How far the studies are that params.yaml describes."""
    from latentlab.identity import study_folder
    from latentlab.params_file import load_params
    from latentlab.search_status import print_status, read_status

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
    from latentlab.profile import apply_profile

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
    from latentlab import gate as gate_module
    from latentlab.params_file import load_params

    if add and not accept:
        raise click.UsageError("--add goes with --accept")
    project = find_project()
    dataset = load_params(project.params).data.name
    if accept:
        click.echo(gate_module.accept(project, dataset, add), err=True)
        return
    verdicts = gate_module.judge(project, dataset)
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
    from latentlab import describe as describe_module
    from latentlab.params_file import load_params

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
    from latentlab.explore import examine
    from latentlab.params_file import load_params

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
    from latentlab import explore
    from latentlab.params_file import load_params

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
    from latentlab import explore
    from latentlab.params_file import load_params

    project = find_project()
    figures = explore.walk(project, load_params(project.params), model, (start, end), steps, out)
    click.echo(json.dumps(figures, indent=2))
    click.echo(f"pictures: {out}", err=True)


@cli.command()
def doctor() -> None:
    """Say what is wrong with this checkout and machine, and how to mend it."""
    from latentlab.doctor import examine

    findings = examine(find_project())
    for finding in findings:
        click.echo(finding.line)
    sys.exit(4 if any(finding.fatal for finding in findings) else 0)


class _Terminated(BaseException):
    """SIGTERM or a lost terminal, raised where the program is, so that runs are closed first."""


def _on_termination(signal_number: int, frame: object) -> None:
    # Python drops what is raised while a destructor runs: knock again until it is heard
    signal.setitimer(signal.ITIMER_REAL, KNOCK_SECONDS)
    raise _Terminated("terminated")


def main() -> None:
    """Run the command line; errors a person can cause end in one message and an exit code."""
    signal.signal(signal.SIGTERM, _on_termination)
    signal.signal(signal.SIGALRM, _on_termination)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _on_termination)
    try:
        cli(standalone_mode=False)
    except LatentlabError as error:
        if world.rank() > 0:
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
    except _Terminated:
        sys.exit(TERMINATED)


def run() -> None:
    """The console script: `main`, what others registered for the exit, then out at once.

    Python would take torch apart first, which takes a second and changes nothing.
    """
    status = 1
    # read when torch loads its threads: they then sleep soon while they wait for each other, and a
    # second program on the same cores does not make them several times slower
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    # registered before anything else, so that it is called after everything else
    atexit.register(lambda: _leave(status))
    try:
        main()
        status = 0
    except SystemExit as left:
        status = left.code


def _leave(status: int) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
