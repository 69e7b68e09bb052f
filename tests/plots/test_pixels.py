import numpy as np
import torch

from latentlab.plots.canvas import PALETTE
from latentlab.plots.pixels import (
    COLUMNS,
    FRAME_COLOR,
    draw_images,
    draw_map,
    draw_mistakes,
    draw_pairs,
)

IMAGES = torch.rand(COLUMNS + 2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
BYTES = (IMAGES * 255).round().byte().numpy()
TILE = 56


def tile(picture, index):
    """Return the image at an index of a picture, without the enlargement."""
    top, left = index // COLUMNS * TILE, index % COLUMNS * TILE
    return picture[top : top + TILE : 2, left : left + TILE : 2]


def rgb(color):
    return list(bytes.fromhex(color[1:]))


def test_images_are_enlarged_and_fill_rows_that_white_completes():
    picture = draw_images(IMAGES)

    assert picture.shape == (2 * TILE, COLUMNS * TILE, 3)
    for index, pixels in enumerate(BYTES):
        np.testing.assert_array_equal(tile(picture, index), pixels[0, :, :, None].repeat(3, 2))
    assert (tile(picture, len(IMAGES)) == 255).all()


def test_each_row_of_pairs_has_its_counterpart_below():
    picture = draw_pairs(IMAGES, 1 - IMAGES)

    for index, pixels in enumerate(BYTES):
        row, column = divmod(index, COLUMNS)
        above, below = 2 * row * COLUMNS + column, (2 * row + 1) * COLUMNS + column
        np.testing.assert_array_equal(tile(picture, above)[..., 0], pixels[0])
        np.testing.assert_allclose(tile(picture, below)[..., 0], 255 - pixels[0], atol=1)


def test_only_mistakes_have_a_frame():
    correct = [index != 3 for index in range(len(IMAGES))]

    changed = (draw_mistakes(IMAGES, correct) != draw_images(IMAGES)).any(2)

    assert draw_mistakes(IMAGES, correct)[0, 3 * TILE].tolist() == rgb(FRAME_COLOR)
    assert not changed[:, : 3 * TILE].any()
    assert not changed[:, 4 * TILE :].any()
    assert not changed[10:40, 3 * TILE + 10 : 4 * TILE - 10].any()


def test_a_map_has_a_point_in_the_color_of_its_class_and_y_points_up():
    picture = draw_map(np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 12]))

    def color_at(vertical, horizontal):
        return picture[vertical, horizontal].tolist()

    first, last = 12, len(picture) - 12
    assert color_at(last, first) == rgb(PALETTE[0])
    assert color_at(first, last) == rgb(PALETTE[1])
    assert color_at(first, first) == rgb(PALETTE[2])
    assert color_at(last, last) == [255, 255, 255]


def test_equal_points_are_drawn_in_the_center():
    picture = draw_map(np.ones((5, 2)), np.zeros(5, int))

    assert picture[200, 200].tolist() == rgb(PALETTE[0])
