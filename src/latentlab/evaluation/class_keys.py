"""Keys of classes in the names of metrics and files."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

MAX_BYTES = 64
"""Longest key in UTF-8: the names of two classes must fit into a file name of 255 bytes."""
DIGEST_LENGTH = 8


def class_keys(classes: Sequence[str]) -> list[str]:
    """Return a different key for each of several different class names.

    A key consists of characters that MLflow accepts in the name of a metric. A name that consists
    of such characters, and is not too long, is its own key. In other names, each run of other
    characters becomes a hyphen. Where this is ambiguous or the name is cut, the first digits of the
    name's SHA-256 follow.
    """
    escaped = [re.sub(r"[^\w.\- ]+", "-", name) for name in classes]
    count = Counter(escaped)
    keys = [
        key if _fits(key) and (key == name or count[key] == 1) else None
        for name, key in zip(classes, escaped, strict=True)
    ]
    taken = set(keys)
    for index, key in enumerate(keys):
        if key is None:
            keys[index] = _with_digest(classes[index], escaped[index], taken)
            taken.add(keys[index])
    return [key for key in keys if key is not None]


def _fits(key: str) -> bool:
    return key.strip(".") != "" and len(key.encode()) <= MAX_BYTES


def _with_digest(name: str, escaped: str, taken: set[str | None]) -> str:
    """Return a shortened key with the digest, extended while another class has the same key."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    start = escaped.encode()[: MAX_BYTES - DIGEST_LENGTH - 1].decode(errors="ignore").rstrip("-")
    lengths = range(DIGEST_LENGTH, len(digest) + 1)
    return next(key for n in lengths if (key := f"{start}-{digest[:n]}") not in taken)
