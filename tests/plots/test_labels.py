import unicodedata

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import ft2font, rcParams
from matplotlib.font_manager import fontManager

from latentlab.plots import labels
from latentlab.plots.classification import plot_confusion
from latentlab.plots.labels import class_labels
from latentlab.plots.maps import plot_latent_map

NAMES = ["A+", "A-", "$10_$20", "a,b", "one\ntwo", "one two", "_hidden", "猫", "x" * 130, "x" * 129]
LABELS = ["A+", "A-", r"\$10_\$20", "a,b", "one two (4)", "one two", "\u200b_hidden", "class 7",
          "x" * 31 + "… (8)", "x" * 31 + "… (9)"]  # fmt: skip


def write_font(path, family, characters):
    """Write a TrueType font that has empty glyphs for some characters."""
    glyphs = [".notdef", *(f"u{ord(each):x}" for each in characters)]
    font = FontBuilder(1000)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap({ord(each): f"u{ord(each):x}" for each in characters})
    font.setupGlyf(dict.fromkeys(glyphs, Glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


@pytest.fixture(autouse=True)
def only_default_fonts(monkeypatch):
    """Hide the fallback fonts of this machine; forget the fonts after each test."""
    monkeypatch.setattr(labels, "FALLBACK_FONTS", ())
    monkeypatch.setitem(rcParams, "font.family", rcParams["font.family"])
    for cached in (labels._fonts, labels._glyphs):
        cached.cache_clear()
    yield
    for cached in (labels._fonts, labels._glyphs):
        cached.cache_clear()


def test_labels_are_in_one_line_short_and_different():
    assert class_labels(NAMES) == LABELS


def test_a_name_without_glyphs_or_with_invisible_characters_becomes_the_number_of_its_class():
    assert class_labels(["क", "", "a\u202eb", "\udc80", "class 1"]) == [
        "class 0", "class 1 (1)", "class 2", "class 3", "class 1",
    ]  # fmt: skip


def test_text_that_must_be_laid_out_becomes_a_number_if_matplotlib_cannot(monkeypatch):
    names = ["שלום", unicodedata.normalize("NFD", "é"), "x\u0301"]

    monkeypatch.setattr(ft2font, "__libraqm_version__", "0.10", raising=False)
    assert class_labels(names) == ["שלום", "é", "x\u0301"]
    monkeypatch.delattr(ft2font, "__libraqm_version__")

    assert class_labels(names) == ["class 0", "é", "class 2"]


def test_plots_show_every_label_as_it_is_and_lack_no_glyph(draw, legend):
    counts = np.eye(len(NAMES), dtype=int)
    figure = draw(plot_confusion, counts, NAMES, "Confusion matrix")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == LABELS

    points = counts[:, :2].astype(float)
    figure = draw(plot_latent_map, points, np.arange(len(NAMES)), NAMES, ["x", "y"], "Map")
    assert legend(figure) == LABELS


def test_an_installed_font_with_the_glyphs_is_used(draw, tmp_path, monkeypatch):
    write_font(tmp_path / "cats.ttf", "Cats", "猫")
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    fontManager.addfont(tmp_path / "cats.ttf")
    monkeypatch.setattr(labels, "FALLBACK_FONTS", ("Cats", "not installed"))

    assert class_labels(["猫", "犬"]) == ["猫", "class 1"]
    draw(plot_confusion, np.eye(2, dtype=int), ["猫", "犬"], "Confusion matrix")


def test_a_number_that_follows_a_label_does_not_make_it_equal_to_another():
    assert class_labels(["a  b", "a b", "a b (0)"]) == ["a b (0) (0)", "a b", "a b (0)"]
