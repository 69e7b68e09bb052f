"""Finding the image files below a folder, and counting the files that are ignored."""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from latentlab.common.errors import DataError

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
}
"""Formats that are read, by their names in Pillow, and the suffixes of their files."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ALLOWED = "PNG, JPEG, WebP, BMP, TIFF, GIF and PPM"
OTHER_FORMATS = frozenset(
    {".avif", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".xcf", ".ico", ".tga", ".exr"}
    | {".dcm", ".nii", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf"}
)
"""Suffixes of image formats that are not read."""
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")
"""Folders with copies that macOS and Synology write next to images."""
MAX_LISTED = 5

Parts = tuple[str, ...]
"""A path relative to the folder of the dataset, as its parts."""


@dataclass
class FileTree:
    """Image files below `root`, sorted, and how many other files there are for each reason.

    `unread` are the image files in other formats, which are also counted in `ignored`.
    """

    root: Path
    images: list[Parts] = field(default_factory=list)
    unread: list[Parts] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def path(self, parts: Parts) -> Path:
        """Return the path of a file."""
        return self.root.joinpath(*parts)


def find_images(root: Path) -> FileTree:
    """Find all image files below `root`; symbolic links are followed.

    Raises DataError if there are no images, and for FIFOs, sockets, devices, broken links and
    links to a folder above, because reading them would fail or never end.
    """
    tree = FileTree(root)
    problems: list[str] = []
    _walk(tree, (), (_identity(root),), problems)
    if problems:
        raise DataError(
            f"{root}: not all entries are files or folders, nothing was written:\n  "
            f"{list_some(sorted(problems))}\nRemove them, or replace them by image files."
        )
    if not tree.images:
        found = f"only {describe_ignored(tree.ignored)}" if tree.ignored else "the folder is empty"
        raise DataError(f"{root}: no images, {found}. Add images in the formats {ALLOWED}.")
    tree.images.sort()
    return tree


def _walk(
    tree: FileTree, parts: Parts, above: tuple[tuple[int, int], ...], problems: list[str]
) -> None:
    """Add the files of the folder `parts`; `above` identifies it and the folders it is in."""
    with os.scandir(tree.path(parts)) as entries:
        for entry in entries:
            place = (*parts, entry.name)
            path = printable(tree.path(place))
            suffix = Path(entry.name).suffix.lower()
            if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
                tree.ignored["hidden folders" if entry.is_dir() else "hidden"] += 1
            elif (kind := _special_kind(entry)) is not None:
                problems.append(f"{path}: {kind}")
            elif entry.is_dir():
                identity = _identity(tree.path(place))
                if identity in above:
                    problems.append(f"{path}: a link to a folder that contains it")
                else:
                    _walk(tree, place, (*above, identity), problems)
            elif suffix in SUFFIXES:
                tree.images.append(place)
            elif suffix in OTHER_FORMATS:
                tree.unread.append(place)
                tree.ignored[f"in other formats ({suffix})"] += 1
            else:
                tree.ignored["not images"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _special_kind(entry: os.DirEntry[str]) -> str | None:
    """Describe an entry that is neither a file nor a folder, or return None."""
    if not entry.is_symlink() and (entry.is_file() or entry.is_dir()):
        return None  # without a system call
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"a link to {printable(os.readlink(entry.path))} ({error.strerror})"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def describe_ignored(ignored: Counter[str]) -> str:
    """Return the counts of ignored files: `3 hidden, 12 not images`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted((+ignored).items()))


def list_some(lines: list[str]) -> str:
    """Join the first lines for a message, and count the others."""
    others = len(lines) - MAX_LISTED
    return "\n  ".join(lines[:MAX_LISTED] + ([f"and {others} others"] if others > 0 else []))


def printable(name: str | Path) -> str:
    r"""Return a file name as text that can be encoded; bytes that are not UTF-8 become `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
