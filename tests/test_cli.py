import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from latentlab import __version__
from latentlab.cli import STAGES, cli
from latentlab.common.project import FOREACH_STAGES

VERBS = [*STAGES, "profile", "gate", "describe", "doctor", "latent", "decode", "walk"]
TYPED = {stage: [stage, "depth"] if stage in FOREACH_STAGES else [stage] for stage in STAGES}
"""How a person runs each stage."""

HEAVY = ["torch", "mlflow", "sklearn", "matplotlib", "optuna", "pydantic", "numpy", "dvc"]


def test_help_lists_every_verb_with_its_purpose_and_the_exit_codes(latentlab):
    answer = latentlab("--help")

    assert answer.code == 0
    assert sorted(cli.commands) == sorted(VERBS)
    for verb in VERBS:
        assert f"\n  {verb} " in answer.out
    assert "Exit codes: 0 done; 1 the gate" in answer.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(latentlab, verb):
    answer = latentlab(verb, "-h")

    assert answer.code == 0
    assert answer.out.startswith(f"Usage: latentlab {verb}")


def test_the_version_is_told(latentlab):
    assert latentlab("--version").out == f"latentlab, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "--dyr-run"], "Did you mean '--dry-run'?"),
        (["train", "now"], "Got unexpected extra argument (now)"),
        (["profile"], "Missing argument 'NAME'"),
        (["compare"], "Missing argument 'NAME'"),
        (["describe", "evaluate"], "'evaluate' has no network; describe one of"),
        (["gate", "--add"], "--add goes with --accept"),
    ],
)
def test_a_wrong_command_line_is_a_mistake_of_the_user(checkout, latentlab, arguments, told):
    answer = latentlab(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert told in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        *TYPED.values(),
        ["profile", "x"],
        ["gate"],
        ["describe"],
        ["latent"],
        ["decode", "--at", "0,0"],
        ["walk", "a", "b"],
    ],
)
def test_outside_of_a_repository_there_is_one_clear_line(
    latentlab, tmp_path, monkeypatch, arguments
):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)

    answer = latentlab(*arguments)

    assert answer.code == 2
    assert answer.err == (
        f"error: no dvc.yaml in {tmp_path} or above it; run inside a latentlab repository\n"
    )


def test_a_verb_may_be_typed_in_a_folder_of_the_repository(checkout, latentlab, monkeypatch):
    monkeypatch.chdir(checkout.profiles)
    assert latentlab("train", "--dry-run").code == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_dry_run_prints_the_parameters_and_runs_nothing(checkout, latentlab, stage):
    (checkout.data / "digits").mkdir(parents=True)
    before = everything(checkout)

    answer = latentlab(*TYPED[stage], "--dry-run")

    assert answer.code == 0
    section = {"fetch": "data", "compare": "compare.depth"}.get(stage, stage)
    assert list(json.loads(answer.out)) == ["runtime", section]
    assert everything(checkout) == before


def test_a_dry_run_of_fetch_looks_for_the_dataset(checkout, latentlab):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("name: digits ", "name: cats "))

    answer = latentlab("fetch", "--dry-run")

    assert answer.code == 3
    assert "data.name = 'cats': no such dataset" in answer.err


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_comparison_that_is_not_there_is_told_with_those_that_are(checkout, latentlab, options):
    answer = latentlab("compare", "deepness", *options)

    assert answer.code == 2
    assert answer.err == (
        f"error: {checkout.params} has no compare.deepness; "
        "there are: latent_dim, optimizer, depth, regularization\n"
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_mistake_in_params_yaml_stops_a_stage_before_anything_is_written(
    checkout, latentlab, stage, options
):
    with checkout.params.open("a") as file:
        file.write("misplaced: 1\n")
    line = len(checkout.params.read_text().splitlines())
    before = everything(checkout)

    answer = latentlab(*TYPED[stage], *options)

    assert answer.code == 2
    assert answer.err.startswith("error: 1 mistake, nothing was done:\n")
    assert f"{checkout.params}:{line}: misplaced is not a known name" in answer.err
    assert everything(checkout) == before


def test_a_profile_prints_its_changes_and_how_many_they_are(checkout, latentlab):
    answer = latentlab("profile", "mnist")

    assert answer.code == 0
    assert answer.out.splitlines()[0] == "data.name: digits -> mnist"
    count = len(answer.out.splitlines())
    assert answer.err == f"params.yaml: {count} values changed by profile 'mnist'\n"


def test_an_unknown_profile_is_a_mistake_of_the_user(checkout, latentlab):
    answer = latentlab("profile", "mnits")

    assert answer.code == 2
    assert answer.err.startswith("error: no profile 'mnits'; did you mean 'mnist'?")


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(checkout, latentlab):
    checkout.params.unlink()
    checkout.params.mkdir()

    answer = latentlab("train")

    assert answer.code == 4
    assert answer.err == f"error: {checkout.params}: Is a directory\n"


def test_nothing_heavy_is_imported_before_a_verb_needs_it():
    program = f"import latentlab.cli, sys; print([m for m in {HEAVY} if m in sys.modules])"

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


def test_the_installed_command_ends_in_one_line_and_an_exit_code(tmp_path):
    ended = installed("train", cwd=tmp_path)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: no dvc.yaml in ")
    assert ended.stderr.count("\n") == 1


def test_the_installed_command_says_everything_before_it_leaves_at_once(checkout):
    shown = installed("train", "--dry-run", cwd=checkout.root)

    assert shown.returncode == 0
    assert json.loads(shown.stdout)["train"]["epochs"] > 0
    assert shown.stderr == ""


def installed(*arguments, cwd):
    """The command as the package installs it."""
    (script,) = entry_points(group="console_scripts", name="latentlab")
    program = f"import sys; from {script.module} import {script.attr}; sys.exit({script.attr}())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, text=True
    )


def everything(checkout):
    """Every file of the checkout with its content."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in checkout.root.rglob("*")
    }


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_termination_that_falls_into_a_destructor_is_not_lost(name):
    code = """
import os, signal, sys, time
from latentlab import cli

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.NAME)
        time.sleep(0.01)  # the handler runs in here, and what it raises is dropped

def work(**options):
    Closing()
    print("still here", flush=True)
    time.sleep(60)

signal.signal(signal.NAME, signal.SIG_DFL)  # the tests themselves may run under nohup
cli.KNOCK_SECONDS = 0.2
cli.cli = work
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.replace("NAME", name)],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout == "still here\n"
    assert done.returncode == 143
