"""Files written atomically: a reader sees the old file or the new one, never half of one."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is synced and renamed over it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # the suffix is kept: NumPy and Matplotlib choose a format by it
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except OSError as fault:
        if fault.filename == str(temporary):  # a name that says nothing to a person
            fault.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, JSON has neither."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(source: Path) -> Any:
    """Read a JSON file."""
    return json.loads(source.read_text(encoding="utf-8"))


def write_csv(target: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows that share their keys as a CSV file with a header."""
    import csv

    with atomic_path(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256_of(source: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with source.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def hash_tree(path: Path) -> list[str]:
    """Return the name and SHA-256 of a file, or of every file in a folder but compiled code."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        f"{file.relative_to(path.parent).as_posix()} {sha256_of(file)}"
        for file in files
        if "__pycache__" not in file.parts and file.is_file()
    ]
