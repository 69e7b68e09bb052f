"""The default store, `mlflow.db` and `mlruns/`, also in a moved or copied checkout.

MLflow stores absolute paths of artifacts. In a moved checkout they lead nowhere, and in a copied
one to the original, so a run in the copy would write into the original.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from latentlab.common.project import Project

PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables that contain paths of artifacts."""


def database(project: Project) -> Path:
    """Return the path of the default store."""
    return project.home / "mlflow.db"


def artifacts(project: Project) -> Path:
    """Return the folder of the artifacts of the default store."""
    return project.home / "mlruns"


def default_uri(project: Project) -> str:
    """Return the URI of the default store."""
    return f"sqlite:///{database(project)}"


@contextmanager
def creation_lock(project: Project) -> Iterator[None]:
    """Let one process at a time create or migrate the database; MLflow itself does not lock it."""
    folder = project.home / ".latentlab"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "mlflow.lock"):
        yield


def other_artifact_folders(project: Project) -> list[str]:
    """Return the URIs of the folders outside this checkout in which the store expects artifacts."""
    if not database(project).is_file():
        return []
    query = (
        "SELECT DISTINCT artifact_location FROM experiments "
        "WHERE name LIKE 'latentlab/%' AND artifact_location LIKE 'file:%/mlruns'"
    )
    with closing(sqlite3.connect(database(project))) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'")
        if tables.fetchone() is None:
            return []
        found = [uri for (uri,) in connection.execute(query)]
    return [uri for uri in found if uri != artifacts(project).as_uri()]


def adopt_artifacts(project: Project) -> None:
    """Change all paths of artifacts in the store to those in `mlruns/` of this checkout."""
    here = artifacts(project)
    for uri in other_artifact_folders(project):
        before = unquote(urlsplit(uri).path)
        with closing(sqlite3.connect(database(project))) as connection, connection:
            for table, column in PATHS:
                for old, new in ((uri, here.as_uri()), (before, str(here))):
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                    )
