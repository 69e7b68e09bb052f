import multiprocessing
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import torch
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from latentlab.cli import main
from latentlab.common.project import Project, find_project
from latentlab.tracking import run as tracking

# tests run side by side: threads of two processes that share a core wait for each other
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: at the end it would run alone."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout under test."""
    return Path(__file__).parents[1]


@pytest.fixture
def checkout(repository, tmp_path, monkeypatch) -> Project:
    """A fresh checkout without data or outputs, as the working directory."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("params.yaml", "gate.yaml", "dvc.yaml"):
        shutil.copy(repository / name, root)
    shutil.copytree(repository / "profiles", root / "profiles")
    for variable in ("DVC_ROOT", "LATENTLAB_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(root)
    return find_project()


@pytest.fixture(scope="session", autouse=True)
def warm_recorders() -> Iterator[None]:
    """Recorders fork from a process that has imported MLflow already; that takes seconds.

    They have the environment that this one had before the first of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "forkserver" in multiprocessing.get_all_start_methods():
            multiprocessing.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store"])
            patch.setattr(tracking, "START_METHOD", "forkserver")
        yield


@pytest.fixture
def cold_recorders(monkeypatch) -> None:
    """Recorders start as a person's do, with the environment of the moment."""
    monkeypatch.setattr(tracking, "START_METHOD", "spawn")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A store without runs; MLflow takes seconds to lay one out."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # SQLAlchemy's
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest -n 0 --update-messages` rewrites tests/messages.yaml with today's wording."""
    parser.addoption("--update-messages", action="store_true")


@pytest.fixture
def message(request, repository, tmp_path) -> Callable[[str, object], None]:
    """Compare a text with the entry `name` of tests/messages.yaml, the wording of all messages.

    `message("params/unknown optimizer", error)`; the folders of a test are replaced by words.
    """
    yaml, path = YAML(), repository / "tests" / "messages.yaml"
    yaml.width = 4096

    def check(name: str, text: object) -> None:
        found = str(text).replace(str(tmp_path), "<tmp>").replace(str(repository), "<repository>")
        expected = yaml.load(path)
        if request.config.getoption("--update-messages"):
            expected[name] = LiteralScalarString(found) if "\n" in found else found
            yaml.dump(dict(sorted(expected.items())), path)
        else:
            assert found == expected.get(name)

    return check


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def latentlab(monkeypatch, capsys) -> Iterator[Callable[..., Answer]]:
    """The command line as a person meets it: `latentlab("gate", "--json")`."""
    on_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["latentlab", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code
        return Answer(code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, on_sigterm)
