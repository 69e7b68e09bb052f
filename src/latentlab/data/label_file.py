"""Labels from a CSV file with the columns `file`, `label` and optionally `split`."""

import csv
from pathlib import Path, PurePosixPath

from latentlab.common.errors import DataError
from latentlab.data.files import FileTree, Parts, list_some, printable

REQUIRED = ("file", "label")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of split folders, in any case, and the split that they contain."""

Named = dict[str, list[tuple[Parts, str]]]
"""Image files per split, each with the name of its class; the name is empty without labels."""


def read_label_file(tree: FileTree, source: Path) -> Named:
    """Return the images that the CSV file `source` lists, with their labels, per split.

    Images that it does not list are ignored. Raises DataError, with line numbers, for files that
    are not images below the folder, are listed twice, or have no label or an unknown split.
    """
    rows = _read_rows(source)
    images = set(tree.images)
    named: Named = {}
    seen: dict[Parts, int] = {}
    errors = []
    for line, row in rows:
        file, name = row["file"] or "", (row["label"] or "").strip()
        split = SPLIT_NAMES.get((row["split"] or "").strip().lower()) if "split" in row else "train"
        parts = PurePosixPath(file).parts
        if parts not in images:
            errors.append(f"line {line}: {printable(file)!r} is not an image file")
        elif parts in seen:
            errors.append(f"line {line}: {printable(file)!r} is also in line {seen[parts]}")
        elif not name:
            errors.append(f"line {line}: the label is empty")
        elif split is None:
            allowed = "train, validation, test"
            errors.append(f"line {line}: split {row['split']!r} is not one of {allowed}")
        else:
            named.setdefault(split, []).append((parts, name))
        seen.setdefault(parts, line)
    if errors:
        raise DataError(
            f"{printable(source)}: {len(errors)} of {len(rows)} rows are invalid (files are "
            f"relative to {printable(tree.root)}):\n  {list_some(errors)}\nCorrect these rows."
        )
    if "train" not in named:
        raise DataError(f"{printable(source)}: no training images. Add rows with the split train.")
    if unlisted := len(images - seen.keys()):
        tree.ignored[f"not listed in {printable(source.name)}"] += unlisted
    order = [split for split in ("train", "validation", "test") if split in named]
    return {split: sorted(named[split]) for split in order}


def _read_rows(source: Path) -> list[tuple[int, dict[str, str | None]]]:
    """Return the rows of a CSV file, each with its line number."""
    try:
        # file names need not be UTF-8
        with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{printable(source)}: not a readable CSV file ({reason}). data.labels is folders, "
            "none, or the path of a CSV file below the folder of the images."
        ) from None
    if missing := [column for column in REQUIRED if column not in columns]:
        raise DataError(
            f"{printable(source)}: missing columns: {', '.join(missing)}. The first line "
            f"is {printable(','.join(columns))!r}. The columns are file, label and, optionally, "
            "split, separated by commas."
        )
    return rows
