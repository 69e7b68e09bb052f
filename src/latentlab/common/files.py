"""Reading, hashing and atomic writing of files.

A reader sees either the old or the new content of a file that is written atomically.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to `target`; sync and rename the file to `target` on success."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # same suffix: NumPy and Matplotlib derive the file format from it
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except OSError as error:
        if error.filename == str(temporary):  # the user knows only the name of the target
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON atomically; raise ValueError for NaN and infinity, which JSON lacks."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(source: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(source.read_text(encoding="utf-8"))


def write_csv(target: Path, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows with equal keys atomically, as a CSV file with a header.

    `columns` is the header of a table without rows.
    """
    import csv

    with atomic_path(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        header = list(rows[0]) if rows else list(columns)
        writer = csv.DictWriter(f, fieldnames=header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256_of(source: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal."""
    with source.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def hash_tree(path: Path) -> list[str]:
    """Return name and SHA-256 of a file, or of each file in a folder except compiled code."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        f"{file.relative_to(path.parent).as_posix()} {sha256_of(file)}"
        for file in files
        if "__pycache__" not in file.parts and file.is_file()
    ]
