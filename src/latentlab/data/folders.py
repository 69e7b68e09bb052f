"""Layouts of a folder of images: which files belong to which split, and their labels.

Supported are `<class>/*`, `<split>/<class>/*`, and images without classes, in split folders or not.
A single folder around these is skipped.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentlab.common.errors import DataError
from latentlab.data.files import ALLOWED, FileTree, Parts, describe_ignored, find_images, printable
from latentlab.data.label_file import SPLIT_NAMES, Named, read_label_file

MIN_TRAIN_IMAGES = 5
"""Fewest training images per class: each split that is drawn from them needs one."""


@dataclass(frozen=True)
class Listing:
    """The image files of a dataset: pairs of path and label per official split.

    `classes` is empty, and all labels are 0, if the images have no labels. `sources` are other
    files that determine the labels, `ignored` the number of ignored files by reason, and `notes`
    messages for the user.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]
    sources: tuple[Path, ...]
    ignored: dict[str, int]
    notes: tuple[str, ...]


def list_images(folder: Path, labels: str) -> Listing:
    """Return the image files of `folder`, with labels from its folders, from a CSV file, or none.

    `labels` is the parameter `data.labels`. Raises DataError if the layout is ambiguous, if a class
    lacks images in a split, or if the folder contains something that cannot be read.
    """
    tree = find_images(folder)
    sources: tuple[Path, ...] = ()
    notes = []
    if labels == "none":
        _, images = _find_splits(tree)
        named = _without_labels(images)
    elif labels == "folders":
        named, note = _label_by_folder(tree, *_find_splits(tree))
        notes += note
    else:
        tree.ignored["not images"] -= 1  # this file
        sources = (folder / labels,)
        named = read_label_file(tree, sources[0])
        if len({name for pairs in named.values() for _, name in pairs}) < 2:
            named = _without_labels(
                {split: [parts for parts, _ in pairs] for split, pairs in named.items()}
            )
            notes.append(f"{printable(sources[0])}: fewer than two labels, so there are none.")
    classes = sorted({name for pairs in named.values() for _, name in pairs} - {""})
    _check_classes(folder, classes, named)
    index = {name: label for label, name in enumerate(classes)}
    splits = {
        split: [(tree.path(parts), index.get(name, 0)) for parts, name in pairs]
        for split, pairs in named.items()
    }
    notes += _similar_names(folder, classes)
    if reasons := describe_ignored(tree.ignored):
        count = sum(map(len, splits.values()))
        notes.append(f"{printable(folder)}: {count:,} images; ignored: {reasons}.")
    ignored = dict(sorted((+tree.ignored).items()))
    return Listing(_printable_classes(classes), splits, sources, ignored, tuple(notes))


def _find_splits(tree: FileTree) -> tuple[int, dict[str, list[Parts]]]:
    """Assign every image to the split whose folder it is in, or all images to "train".

    Also returns how many leading parts of their paths do not name a class.
    """
    depth, root = _skip_single_folders(tree.images + tree.unread)
    tops = sorted({parts[depth] for parts in tree.images if len(parts) > depth + 1})
    named = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    others = [top for top in tops if top not in named]
    # a single `train` or `test` next to other folders is a class, unless it contains classes
    single = len(named) == 1 and not _contains_folders(tree.images, depth, next(iter(named)))
    if not named or (others and (single or "train" not in named.values())):
        return depth, {"train": tree.images}
    _check_split_folders(tree.path(root), named, others)
    images: dict[str, list[Parts]] = {
        split: [] for split in ("train", "validation", "test") if split in named.values()
    }
    for parts in tree.images:
        if len(parts) > depth + 1:
            images[named[parts[depth]]].append(parts)
        else:
            tree.ignored["outside the split folders"] += 1
    return depth + 1, images


def _skip_single_folders(files: list[Parts]) -> tuple[int, Parts]:
    """Return the folder below all folders that are the only one in theirs, and its depth.

    Archives often contain such a folder: `flowers/flowers/<class>/`. Stray files next to it do not
    count if it contains several folders. A split folder is not skipped.
    """
    root: Parts = ()
    while True:
        depth = len(root)
        nested = [parts for parts in files if len(parts) > depth + 1]
        tops = {parts[depth] for parts in nested}
        if len(tops) != 1:
            return depth, root
        (top,) = tops
        stray = len(nested) < len(files)
        if top.lower() in SPLIT_NAMES or (stray and not _contains_folders(nested, depth, top)):
            return depth, root
        files, root = nested, (*root, top)


def _contains_folders(files: list[Parts], depth: int, top: str) -> bool:
    """Return whether the folder `top` contains several folders with files."""
    below = {parts[depth + 1] for parts in files if len(parts) > depth + 2 and parts[depth] == top}
    return len(below) > 1


def _check_split_folders(root: Path, named: dict[str, str], others: list[str]) -> None:
    """Raise DataError if split folders have other folders next to them, or the wrong names."""
    folders = ", ".join(named)
    if others:
        raise DataError(
            f"{printable(root)}: there are split folders ({folders}), and next to them other "
            f"folders with images: {_list_names(others)}. Move these elsewhere, or into the split "
            "folders."
        )
    for split, count in Counter(named.values()).items():
        if count > 1:
            same = " and ".join(top for top in named if named[top] == split)
            raise DataError(f"{printable(root)}: {same} are the same split. Merge these folders.")
    if "train" not in named.values():
        raise DataError(
            f"{printable(root)}: there are split folders ({folders}), but none for training. Name "
            "it train."
        )


def _without_labels(images: dict[str, list[Parts]]) -> Named:
    return {split: [(parts, "") for parts in members] for split, members in images.items()}


def _label_by_folder(
    tree: FileTree, depth: int, images: dict[str, list[Parts]]
) -> tuple[Named, list[str]]:
    """Return the images with the name of their class folder, and notes for the user.

    With fewer than two class folders, there are no labels. Otherwise, images outside the class
    folders are ignored.
    """
    named = {
        split: [(parts, parts[depth]) for parts in members if len(parts) > depth + 1]
        for split, members in images.items()
    }
    classes = {name for pairs in named.values() for _, name in pairs}
    unread = {parts[depth] for parts in tree.unread if len(parts) > depth + 1} - classes
    if classes and unread:
        raise DataError(
            f"{printable(tree.root)}: no image of class {_list_names(unread)} has a format that is "
            f"read. Convert them to one of {ALLOWED}, or move the folder elsewhere."
        )
    if len(classes) < 2:
        return _without_labels(images), [
            f"{printable(tree.root)}: fewer than two class folders, so the images have no labels. "
            "For labels, put the images into one folder per class, or set data.labels: <file.csv>."
        ]
    for split, pairs in named.items():
        if not pairs:
            raise DataError(
                f"{printable(tree.root)}: the {split} images are not in class folders, as the "
                "others are. Put them into class folders, move them elsewhere, or set data.labels "
                "to none or to a CSV file."
            )
        if outside := len(images[split]) - len(pairs):
            tree.ignored["outside the class folders"] += outside
    return named, []


def _check_classes(folder: Path, classes: list[str], named: Named) -> None:
    """Raise DataError if a class has no images in one of the splits, or too few for training."""
    counts = {split: Counter(name for _, name in pairs) for split, pairs in named.items()}
    for split, count in counts.items():
        if missing := [name for name in classes if not count[name]]:
            advice = (
                "Add some, or remove the class; the names of its folders must be equal in all "
                "splits."
                if split == "train"
                else f"Add some, remove the class, or remove the {split} split: it is then drawn "
                "from the training images."
            )
            raise DataError(
                f"{printable(folder)}: no {split} images of class {_list_names(missing)}. {advice}"
            )
    if few := [name for name in classes if counts["train"][name] < MIN_TRAIN_IMAGES]:
        raise DataError(
            f"{printable(folder)}: too few images in class {_list_names(few)}; at least "
            f"{MIN_TRAIN_IMAGES} training images per class are needed. Add images, or remove the "
            "class."
        )


def _printable_classes(names: list[str]) -> tuple[str, ...]:
    r"""Return the names as text; a byte that becomes `\xe9` must not make two of them equal."""
    shown: list[str] = []
    for name in names:
        text = printable(name)
        while text in shown:
            text += "'"
        shown.append(text)
    return tuple(shown)


def _similar_names(folder: Path, classes: list[str]) -> list[str]:
    """Return a note for each pair of classes that some file systems do not distinguish."""
    notes = []
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            notes.append(
                f"{printable(folder)}: the classes {_list_names([other, name])} differ only in "
                "case or in the encoding of accents. Merge them if they are the same class."
            )
    return notes


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(repr(printable(name)) for name in sorted(names))
