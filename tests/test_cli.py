import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from latentlab import __version__
from latentlab.cli import STAGES, cli
from latentlab.common import errors
from latentlab.common.errors import EXIT_CODES, LatentlabError
from latentlab.common.project import FOREACH_STAGES

ARGUMENTS = {stage: [stage, "depth"] if stage in FOREACH_STAGES else [stage] for stage in STAGES}
"""The arguments that run each stage."""

HEAVY = ["torch", "mlflow", "sklearn", "matplotlib", "optuna", "pydantic", "numpy", "dvc"]


def test_help_lists_every_command_with_its_complete_summary(latentlab):
    answer = latentlab("--help")

    assert answer.code == 0
    lines = answer.out.splitlines()
    for name in cli.commands:
        (summary,) = (line for line in lines if line.startswith(f"  {name} "))
        assert summary.endswith("."), summary
        assert not summary.endswith("..."), summary


def test_help_lists_every_exit_code(latentlab):
    lines = [line.split(maxsplit=1) for line in latentlab("--help").out.splitlines()]

    for code, meaning in EXIT_CODES.items():
        assert [str(code), meaning] in lines


def test_every_error_has_a_documented_exit_code():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]

    assert {kind.exit_code for kind in classes if issubclass(kind, LatentlabError)} <= {*EXIT_CODES}


def test_every_command_has_a_help_page(latentlab):
    for name in cli.commands:
        answer = latentlab(name, "-h")

        assert answer.code == 0
        assert answer.out.startswith(f"Usage: latentlab {name}")


def test_the_version_is_printed(latentlab):
    assert latentlab("--version").out == f"latentlab, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trainn"], "No such command 'trainn'. Did you mean 'train'?"),
        (["train", "--dyr-run"], "Did you mean '--dry-run'?"),
        (["train", "now"], "Got unexpected extra argument (now)"),
        (["profile"], "Missing argument 'NAME'"),
        (["compare"], "Missing argument 'NAME'"),
        (["gate", "--add"], "--add requires --accept"),
    ],
)
def test_a_wrong_command_line_is_rejected(checkout, latentlab, arguments, text):
    answer = latentlab(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert text in answer.err


def test_a_section_without_a_network_cannot_be_described(checkout, latentlab, message):
    answer = latentlab("describe", "evaluate")

    assert answer.code == 2
    message("cli: section without a network", answer.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "depth"],
        ["train"],
        ["profile", "x"],
        ["gate"],
        ["describe"],
        ["latent"],
        ["decode", "--at", "0,0"],
        ["walk", "a", "b"],
    ],
)
def test_every_command_outside_a_repository_is_rejected(
    latentlab, tmp_path, monkeypatch, message, arguments
):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)

    answer = latentlab(*arguments)

    assert answer.code == 2
    message("cli: outside a repository", answer.err)


def test_commands_can_be_run_in_a_folder_of_the_repository(checkout, latentlab, monkeypatch):
    monkeypatch.chdir(checkout.profiles)
    assert latentlab("train", "--dry-run").code == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_dry_run_prints_the_parameters_and_runs_nothing(checkout, latentlab, stage):
    (checkout.data / "digits").mkdir(parents=True)
    before = files(checkout)

    answer = latentlab(*ARGUMENTS[stage], "--dry-run")

    assert answer.code == 0
    section = {"fetch": "data", "compare": "compare.depth"}.get(stage, stage)
    assert list(json.loads(answer.out)) == ["runtime", section]
    assert files(checkout) == before


def test_a_dry_run_of_fetch_checks_the_name_of_the_dataset(checkout, latentlab):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("name: digits", "name: cats", 1))

    answer = latentlab("fetch", "--dry-run")

    assert answer.code == 3
    assert "data.name = 'cats': no such dataset" in answer.err


def test_an_unknown_comparison_is_rejected_with_the_existing_ones(checkout, latentlab, message):
    answer = latentlab("compare", "deepness")

    assert answer.code == 2
    message("cli: unknown comparison", answer.err)


@pytest.mark.parametrize("options", [["compare", "depth"], ["train"], ["train", "--dry-run"]])
def test_a_mistake_in_params_yaml_stops_a_stage_before_anything_is_written(
    checkout, latentlab, message, options
):
    with checkout.params.open("a") as file:
        file.write("misplaced: 1\n")
    before = files(checkout)

    answer = latentlab(*options)

    assert answer.code == 2
    line = len(checkout.params.read_text().splitlines())
    message("cli: mistake in params.yaml", answer.err.replace(f"yaml:{line}:", "yaml:<line>:"))
    assert files(checkout) == before


def test_profile_prints_the_changes_and_their_number(checkout, latentlab):
    answer = latentlab("profile", "mnist")

    assert answer.code == 0
    assert answer.out.splitlines()[0] == "data.name: digits -> mnist"
    count = len(answer.out.splitlines())
    assert answer.err == f"params.yaml: {count} values changed by profile 'mnist'\n"


def test_an_unreadable_file_is_reported_without_a_traceback(checkout, latentlab):
    checkout.params.unlink()
    checkout.params.mkdir()

    answer = latentlab("train")

    assert answer.code == 4
    assert answer.err == f"error: {checkout.params}: Is a directory\n"


def test_no_heavy_package_is_imported_before_a_command_needs_it():
    program = f"import latentlab.cli, sys; print([m for m in {HEAVY} if m in sys.modules])"

    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert process.stdout.strip() == "[]"


def test_the_installed_command_prints_one_line_for_an_error_of_the_user(tmp_path):
    process = run_installed("train", cwd=tmp_path)

    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("error: no dvc.yaml in ")
    assert process.stderr.count("\n") == 1


def test_the_installed_command_flushes_its_output_before_the_fast_exit(checkout):
    process = run_installed("train", "--dry-run", cwd=checkout.root)

    assert process.returncode == 0
    assert json.loads(process.stdout)["train"]["epochs"] > 0
    assert process.stderr == ""


def test_a_bug_ends_with_one_line_that_names_the_file_of_the_traceback(checkout):
    break_it = "import latentlab.cli; latentlab.cli.find_project = lambda: 1 / 0"

    process = run_installed("doctor", cwd=checkout.root, prepare=break_it)

    assert process.returncode == 70
    start = "error: a bug in latentlab: ZeroDivisionError: division by zero. The traceback is in "
    assert process.stderr.startswith(start)
    assert process.stderr.count("\n") == 1
    path = Path(process.stderr.removeprefix(start).rstrip())
    assert path.read_text().startswith("Traceback")
    path.unlink()


def run_installed(*arguments, cwd, prepare=""):
    """Run the console script of the package in another process, after the code `prepare`."""
    (script,) = entry_points(group="console_scripts", name="latentlab")
    program = (
        f"{prepare}\nimport sys; from {script.module} import {script.attr}\n"
        f"sys.exit({script.attr}())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, text=True
    )


def files(checkout):
    """Return every path of the checkout with its content."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in checkout.root.rglob("*")
    }


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_termination_signal_that_arrives_in_a_destructor_is_not_lost(name):
    code = """
import os, signal, sys, time
from latentlab import cli
from latentlab.common import startup

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.NAME)
        time.sleep(0.01)  # the handler runs here, and Python drops its exception

def work(**options):
    Closing()
    print("still running", flush=True)
    time.sleep(60)

signal.signal(signal.NAME, signal.SIG_DFL)  # the tests may run under nohup
startup.SECONDS_BETWEEN_SIGNALS = 0.5
cli.cli = work
cli.run()
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.replace("NAME", name)],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert process.stdout == "still running\n"
    assert process.returncode == 143
