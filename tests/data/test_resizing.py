import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.data.resizing import fit_images

WIDE = torch.zeros(1, 4, 12, dtype=torch.uint8)
WIDE[:, :, 4:8] = 200
"""An image whose central square is 200 and whose sides are 0."""


def random_image(height, width, channels=3):
    generator = torch.Generator().manual_seed(0)
    shape = (channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(40, 17), (17, 40), (5, 4), (100, 1), (28, 28)])
def test_every_shape_becomes_a_square(fit, shape):
    image = fit_images(random_image(*shape), 28, fit)

    assert image.shape == (3, 28, 28)
    assert image.dtype == torch.uint8


def test_images_of_the_requested_size_are_unchanged():
    image = random_image(28, 28)

    assert fit_images(image, 28, "crop") is image


def test_crop_keeps_the_center():
    assert fit_images(WIDE, 8, "crop").unique().tolist() == [200]


def test_pad_adds_black_borders_to_the_whole_image():
    white = torch.full((1, 4, 12), 255, dtype=torch.uint8)

    image = fit_images(white, 12, "pad")[0]

    assert image[:4].unique().tolist() == [0]
    assert image[4:8].unique().tolist() == [255]
    assert image[8:].unique().tolist() == [0]


def test_stretch_uses_the_whole_image():
    columns = fit_images(WIDE, 12, "stretch")[0].float().mean(0)

    assert columns[:3].tolist() == [0] * 3
    assert columns[6] == 200


def test_a_batch_equals_its_images():
    batch = torch.stack([random_image(20, 30), random_image(20, 30).flip(0)])

    for index, image in enumerate(fit_images(batch, 8, "pad")):
        assert torch.equal(image, fit_images(batch[index], 8, "pad"))


@pytest.mark.parametrize("size", [8, 28, 64])
def test_resizing_agrees_with_pillow_within_one(size):
    image = random_image(40, 40)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())

    expected = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))

    actual = fit_images(image, size, "crop").permute(1, 2, 0).numpy()
    assert np.abs(actual.astype(int) - expected).max() <= 1
