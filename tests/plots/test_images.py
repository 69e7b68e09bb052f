import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.plots.images import (
    ANIMATION_SCALE,
    image_strip,
    plot_grid,
    plot_latent_grid,
    plot_rows,
    save_animation,
    tile_images,
)

IMAGES = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def shown(axes):
    return axes.images[0].get_array()


def test_a_strip_has_white_gaps_and_clamps_pixels():
    images = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 7.0)])

    strip = image_strip(images, gap=1)

    assert strip.shape == (2, 5, 3)
    assert strip[0, :, 0].tolist() == [0, 0, 1, 1, 1]


def test_a_grid_shows_images_row_by_row(draw):
    figure = draw(plot_grid, IMAGES, 8, "VAE on digits: samples")

    assert figure.get_suptitle() == "VAE on digits: samples"
    assert len(figure.axes) == 3
    for axes, row in zip(figure.axes, (IMAGES[:8], IMAGES[8:16], IMAGES[16:]), strict=True):
        np.testing.assert_array_equal(shown(axes), image_strip(row))


def test_rows_have_their_names_on_the_left(draw):
    rows = {"original": IMAGES[:5], "reconstructed": IMAGES[5:10]}

    figure = draw(plot_rows, rows, "Reconstructions")

    assert figure.get_suptitle() == "Reconstructions"
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "reconstructed"]
    for axes, images in zip(figure.axes, rows.values(), strict=True):
        np.testing.assert_array_equal(shown(axes), image_strip(images))


def test_images_of_a_latent_grid_are_centered_at_the_coordinates_of_their_codes(draw):
    x_values, y_values = np.linspace(-1, 1, 5), np.linspace(0, 3, 4)

    (axes,) = draw(
        plot_latent_grid, IMAGES, x_values, y_values, ["first", "second"], "Latent grid"
    ).axes

    assert axes.get_title() == "Latent grid"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")
    assert axes.images[0].get_extent() == pytest.approx([-1.25, 1.25, -0.5, 3.5])
    assert shown(axes).shape == (4 * 8, 5 * 8, 3)
    top_left = IMAGES[0].permute(1, 2, 0)  # of the smallest x and the largest y
    np.testing.assert_allclose(shown(axes)[:8, :8], top_left)


def test_tiles_are_one_image_row_by_row():
    tiles = tile_images(IMAGES, 5)

    assert tiles.shape == (3, 4 * 8, 5 * 8)
    assert torch.equal(tiles[:, 8:16, 16:24], IMAGES[7])


def test_an_animation_has_every_frame_and_repeats(tmp_path):
    target = tmp_path / "walk.gif"
    save_animation(target, [torch.full((2, 1, 8, 8), level) for level in (0.0, 0.5, 1.0)])

    with Image.open(target) as picture:
        assert picture.n_frames == 3
        assert picture.info["loop"] == 0
        assert picture.size == ((2 * 8 + 2) * ANIMATION_SCALE, 8 * ANIMATION_SCALE)
        levels = []
        for number in range(3):
            picture.seek(number)
            levels.append(picture.convert("L").getpixel((3, 3)))
    assert levels == pytest.approx([0, 128, 255], abs=2)
