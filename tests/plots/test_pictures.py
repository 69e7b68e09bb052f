"""Pictures of all shapes of what they show: each is drawn, and the same drawn twice."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.plots.classification import plot_confusion, plot_label_budgets, plot_mistakes
from latentlab.plots.images import SCALE, plot_plane, save_animation
from latentlab.plots.maps import (
    plot_density_maps,
    plot_histograms,
    plot_latent_map,
    plot_panels,
)
from latentlab.plots.robustness import plot_robustness

LABELS = np.arange(60) % 12
CLASSES = [f"class {number}" for number in range(13)]  # of one there is no image
POINTS = np.random.default_rng(0).normal(size=(60, 3))
PANEL = POINTS[:, :2], "code"
IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
AXES = ["first", "second", "third"]
FIGURES = {"a way": {"mse": 0.1, "accuracy": 0.5}, "another": {"mse": 0.2, "accuracy": 0.25}}

PICTURES = {
    "map": lambda to: plot_latent_map(to, POINTS[:, :2], LABELS, CLASSES, AXES, "title"),
    "map in depth": lambda to: plot_latent_map(to, POINTS, LABELS, CLASSES, AXES, "title"),
    "one panel": lambda to: plot_panels(to, {"a": PANEL}, LABELS, CLASSES, "title"),
    "panels": lambda to: plot_panels(
        to, {str(n): PANEL for n in range(7)}, LABELS, CLASSES, "title"
    ),
    "densities": lambda to: plot_density_maps(
        to, {"a": POINTS[:, :2], "b": POINTS[:9, 1:]}, AXES, "title"
    ),
    "histograms": lambda to: plot_histograms(
        to, {"a": POINTS[:, 0], "b": POINTS[:9, 1]}, "first", "title"
    ),
    "map with the prior": lambda to: plot_latent_map(
        to, POINTS[:, :2], LABELS, CLASSES, AXES, "title", prior=True
    ),
    "plane": lambda to: plot_plane(
        to, IMAGES, np.linspace(-1, 1, 5), np.linspace(0, 1, 4), AXES, "title"
    ),
    "colour plane": lambda to: plot_plane(
        to, IMAGES.expand(-1, 3, -1, -1), np.linspace(-1, 1, 5), np.linspace(0, 1, 4), AXES, "t"
    ),
    "robustness": lambda to: plot_robustness(to, "blur", {0.5: FIGURES, 0.1: FIGURES}),
    "one severity": lambda to: plot_robustness(to, "salt_and_pepper", {0.5: FIGURES}),
    "counts": lambda to: plot_confusion(
        to, np.arange(9).reshape(3, 3), CLASSES[:3], "title", as_shares=False
    ),
    "mistakes": lambda to: plot_mistakes(to, IMAGES, ["is a\nnot b"] * 20, 8, "title"),
    "no mistakes": lambda to: plot_mistakes(to, IMAGES[:0], [], 8, "title"),
    "labels": lambda to: plot_label_budgets(
        to, {"frozen": {4: (0.5, 0.1), 64: (0.8, 0.0)}, "other": {4: (0.4, 0.1)}}, "title"
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_and_the_same_again(name, tmp_path):
    for target in (tmp_path / "first.png", tmp_path / "second.png"):
        PICTURES[name](target)

    with Image.open(tmp_path / "first.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_an_animation_has_every_frame_and_goes_on(tmp_path):
    target = tmp_path / "walk.gif"
    frames = [torch.full((2, 1, 8, 8), level) for level in (0.0, 0.5, 1.0)]
    save_animation(target, frames)

    with Image.open(target) as picture:
        assert picture.n_frames == 3
        assert picture.info["loop"] == 0
        assert picture.size == ((2 * 8 + 2) * SCALE, 8 * SCALE)
        levels = []
        for number in range(3):
            picture.seek(number)
            levels.append(picture.convert("L").getpixel((3, 3)))
    assert levels == pytest.approx([0, 128, 255], abs=2)
