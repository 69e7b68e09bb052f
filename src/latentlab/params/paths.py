"""Nested mappings as flat ones."""

from typing import Any


def flatten(tree: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """A nested mapping as one level of paths, dotted unless told otherwise.

    The space of a search stays whole: it has paths of its own.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and not path.endswith("search.space"):
            flat |= flatten(value, f"{path}{separator}", separator)
        else:
            flat[path] = value
    return flat
