"""Commands in the documentation and in workflows, and what is wrong with them."""

import re
import shlex
import sys
from pathlib import Path
from unittest import mock

import click
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from latentlab.cli import cli

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def split_commands(script):
    """Return the commands of a shell script as lists of words."""
    lines = script.replace("\\\n", " ").splitlines()
    lines = [re.sub(r"(^|\s)#.*$", "", line) for line in lines]
    parts = [part for line in lines for part in re.split(r"&&|\|| & ?$", line)]
    return [words for part in parts if (words := shlex.split(part))]


def latentlab_problem(words, complete=True):
    """Return what is wrong with the words after `latentlab`, or None.

    If the command is not `complete`, it may leave arguments out.
    """
    try:
        command = cli.commands[words[0]]
        if complete:
            command.make_context(words[0], list(words[1:]), **cli.context_settings)
        else:
            context = click.Context(command, resilient_parsing=True, **cli.context_settings)
            command.make_parser(context).parse_args(list(words[1:]))
    except KeyError:
        return f"latentlab has no command {words[0]}"
    except click.UsageError as error:
        return f"latentlab {shlex.join(words)}: {error}"
    return None


def dvc_problem(words):
    """Return what is wrong with the words after `dvc`, or None."""
    with mock.patch.object(sys, "argv", ["dvc"]):  # DVC's parser reads it
        try:
            get_main_parser().parse_args(words)
        except DvcParserError as error:
            return f"dvc {shlex.join(words)}: {error}"
    return None


def make_problem(words):
    """Return what is wrong with the words after `make`, or None."""
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    missing = [target for target in targets if target not in MAKE_TARGETS]
    return f"the Makefile has no target {' '.join(missing)}" if missing else None
