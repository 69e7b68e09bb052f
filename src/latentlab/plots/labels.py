"""Class names as text in plots, and the fonts that plots use."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS", "Noto Emoji",
)  # fmt: skip
"""Fonts for characters that Matplotlib's default font lacks. Those that are installed are used."""
MAX_CHARACTERS = 32
"""Longest label."""


def class_labels(classes: Sequence[str]) -> list[str]:
    """Return class names as Matplotlib can draw them; different names get different labels.

    A name becomes one line and is shortened. A name that the fonts cannot show becomes the number
    of the class, for example `class 3`. Where labels would be equal, the number follows.
    """
    labels = [_shown(name) or f"class {number}" for number, name in enumerate(classes)]
    count = Counter(labels)
    taken = {label for label, name in zip(labels, classes, strict=True) if label == name}
    for number, (label, name) in enumerate(zip(labels, classes, strict=True)):
        if label != name and count[label] > 1:
            labels[number] = f"{label} ({number})"
        while label != name and labels[number] in taken:
            labels[number] += f" ({number})"
        taken.add(labels[number])
    return [_literal(label) for label in labels]


def use_fonts() -> None:
    """Let Matplotlib look for missing characters in the fallback fonts that are installed."""
    import matplotlib

    if len(fonts := _fonts()) > 1:
        matplotlib.rcParams["font.family"] = fonts


def _shown(name: str) -> str | None:
    """Return a name in one line, shortened, or None if it cannot be drawn."""
    text = unicodedata.normalize("NFC", " ".join(name.split()))
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - 1] + "…"
    missing = {ord(character) for character in text} - _glyphs()
    return text if text.isprintable() and not missing and _is_laid_out(text) else None


def _literal(text: str) -> str:
    """Return text that Matplotlib draws as it is, neither as a formula nor omits from a legend."""
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _is_laid_out(text: str) -> bool:
    """Return whether Matplotlib can order and combine the characters of a text.

    Right-to-left text and combining characters need libraqm, which Matplotlib 3.11 introduced.
    """
    from matplotlib import ft2font

    complex_text = any(
        unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.combining(character)
        for character in text
    )
    return hasattr(ft2font, "__libraqm_version__") or not complex_text


@cache
def _fonts() -> list[str]:
    """Return the default font and the fallback fonts that are installed."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    default = [*matplotlib.rcParams["font.family"]]
    return default + [name for name in FALLBACK_FONTS if name in installed]


@cache
def _glyphs() -> frozenset[int]:
    """Return the code points that at least one of the fonts contains."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[name])) for name in _fonts()]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))
