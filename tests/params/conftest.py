import re
from copy import deepcopy
from pathlib import Path

import pytest

from latentlab.common.errors import ParamsError
from latentlab.params.load import load_params, validate_params
from latentlab.params.yaml_io import read_yaml


@pytest.fixture(scope="session")
def params(repository):
    """The parameters in the params.yaml of the repository."""
    return load_params(repository / "params.yaml")


@pytest.fixture(scope="session")
def edited(repository):
    """Return a function that changes values of the params.yaml, given as {path: value}.

    The value `...` deletes the key.
    """
    shipped = read_yaml(repository / "params.yaml")

    def edit(changes):
        document = deepcopy(shipped)
        for path, value in changes.items():
            *parents, key = _keys(path)
            section = document
            for name in parents:
                section = section[name]
            if value is ...:
                del section[key]
            else:
                section[key] = value
        return document

    return edit


@pytest.fixture(scope="session")
def loaded(edited):
    """Return a function that loads the params.yaml with other values."""

    def load(changes):
        document = edited(changes)
        return validate_params(document, document, Path("params.yaml"))

    return load


@pytest.fixture(scope="session")
def errors(repository, edited):
    """Return a function that gives the errors of the params.yaml with other values.

    Line numbers are checked and removed, so that the wording does not change with the file.
    """
    lines = (repository / "params.yaml").read_text().splitlines()

    def report(changes):
        document = edited(changes)
        with pytest.raises(ParamsError) as caught:
            validate_params(document, document, Path("params.yaml"))
        first, *others = str(caught.value).splitlines()
        assert first == f"{_count(others)} in the settings; nothing was run:"
        return "\n".join(_without_line(line, lines, changes) for line in others)

    return report


def _keys(path):
    """Split a path; the keys of a search space contain dots themselves."""
    section, space, name = path.partition("search.space.")
    if space:
        return [*filter(None, section.split(".")), "search", "space", name]
    return path.split(".")


def _count(lines):
    return "1 error" if len(lines) == 1 else f"{len(lines)} errors"


def _without_line(error, lines, changes):
    number, message = re.fullmatch(r"  params\.yaml:(\d+): (.*)", error).groups()
    place = re.match(r"[^ :]*", message)[0]
    # a missing or new key has the line of its section, and a new section the first line
    names = place.split(".")
    line = lines[int(number) - 1]
    assert number == "1" or any(name in line for name in names), error
    return message
