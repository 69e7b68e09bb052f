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
import sqlalchemy
import torch
from alembic.script import ScriptDirectory
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from latentlab.cli import main
from latentlab.common import processes
from latentlab.common.project import Project, find_project
from latentlab.tracking import run as tracking
from warm_commands import PRELOADED

# tests run in parallel processes, and threads of processes that share a core wait for each other
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files, so that none of them runs alone at the end."""
    longest = ["test_own_images.py", "test_end_to_end.py"]
    items.sort(key=lambda item: item.path.name in longest, reverse=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository."""
    return Path(__file__).parents[1]


@pytest.fixture
def checkout(repository, tmp_path, monkeypatch) -> Project:
    """A new checkout without data or outputs, as the working directory."""
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
def warm_processes() -> Iterator[None]:
    """Fork recorders, workers and background processes from one with all imports, to save seconds.

    They have the environment variables of this process at the time of the first fork.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "forkserver" in multiprocessing.get_all_start_methods():
            patch.setattr(processes, "PRELOADED", [*PRELOADED, "distributed.cli.dask_worker"])
            processes.worker_context()
            for module in (processes, tracking):
                patch.setattr(module, "START_METHOD", "forkserver")
        yield


@pytest.fixture
def cold_processes(monkeypatch) -> None:
    """Spawn recorders and background processes as in production, with the current environment."""
    for module in (processes, tracking):
        monkeypatch.setattr(module, "START_METHOD", "spawn")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An MLflow store without runs; MLflow takes seconds to create one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # SQLAlchemy's
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def quick_records():
    """Make records faster: no flush to disk, and Optuna's table history is loaded once."""
    from_config = ScriptDirectory.from_config
    loaded = []

    def load_once(config):
        loaded.extend([] if loaded else [from_config(config)])
        return loaded[0]

    def skip_flush(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", skip_flush)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", load_once)
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", skip_flush)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option: `pytest -n 0 --update-messages` writes the wording to tests/messages.yaml."""
    parser.addoption("--update-messages", action="store_true")


@pytest.fixture(scope="session")
def expected_messages(repository) -> dict[str, str]:
    """The texts in tests/messages.yaml by name."""
    return YAML(typ="safe").load(repository / "tests" / "messages.yaml")


@pytest.fixture
def message(request, repository, tmp_path, expected_messages) -> Callable[[str, object], None]:
    """Compare the wording of an error or another text with tests/messages.yaml.

    `message("params/unknown optimizer", error)` compares with the entry of that name. Paths of this
    test and of the repository are replaced by placeholders.
    """

    def check(name: str, text: object) -> None:
        actual = str(text).replace(str(tmp_path), "<tmp>").replace(str(repository), "<repository>")
        if request.config.getoption("--update-messages"):
            update_message(repository / "tests" / "messages.yaml", name, actual)
            return
        assert name in expected_messages, (
            f"add it with: pytest -n 0 --update-messages {request.path}"
        )
        assert actual == expected_messages[name]

    return check


def update_message(path: Path, name: str, text: str) -> None:
    """Set one entry of tests/messages.yaml, sorted by name."""
    yaml = YAML()
    yaml.width = 4096
    messages = yaml.load(path) | {name: LiteralScalarString(text) if "\n" in text else text}
    yaml.dump(dict(sorted(messages.items())), path)


@dataclass(frozen=True)
class Answer:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def latentlab(monkeypatch, capsys) -> Iterator[Callable[..., Answer]]:
    """Return a function that runs the command line: `latentlab("gate", "--verbose")`."""
    on_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["latentlab", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as request:
            code = request.code
        return Answer(code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, on_sigterm)
