import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.data.decoding import decode_image, fit_images, read_header, resize_images


class TestDecoding:
    def test_rgb_stays_rgb(self, tmp_path):
        Image.new("RGB", (10, 10), (200, 100, 50)).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 8, 3)

        assert image.shape == (3, 8, 8)
        assert [np.unique(channel).tolist() for channel in image] == [[200], [100], [50]]

    def test_rgb_is_converted_to_gray_by_luminance(self, tmp_path):
        Image.new("RGB", (10, 10), (255, 0, 0)).save(tmp_path / "x.png")
        assert np.unique(decode_image(tmp_path / "x.png", 8, 1)).tolist() == [76]

    def test_gray_is_converted_to_three_equal_channels(self, tmp_path):
        Image.new("L", (10, 10), 99).save(tmp_path / "x.png")
        assert np.unique(decode_image(tmp_path / "x.png", 8, 3)).tolist() == [99]

    def test_jpeg_is_decoded(self, tmp_path):
        Image.new("RGB", (16, 16), (10, 200, 30)).save(tmp_path / "x.jpg", quality=95)

        image = decode_image(tmp_path / "x.jpg", 8, 3)

        np.testing.assert_allclose(image.mean((1, 2)), [10, 200, 30], atol=2)

    def test_sixteen_bits_are_scaled_to_eight(self, tmp_path):
        values = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 4, 1)

        assert image[0, 0].tolist() == [0, 1, 128, 255]

    def test_one_bit_images_are_decoded(self, tmp_path):
        Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 8, 1)

        np.testing.assert_array_equal(image[0], np.eye(8) * 255)

    def test_transparency_is_composited_over_white(self, tmp_path):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
        Image.new("LA", (8, 8), (0, 128)).save(tmp_path / "half.png")

        assert np.unique(decode_image(tmp_path / "clear.png", 8, 3)).tolist() == [255]
        assert np.unique(decode_image(tmp_path / "half.png", 8, 1)).tolist() == [127]

    def test_a_transparent_palette_color_is_composited_over_white(self, tmp_path):
        image = Image.new("P", (8, 8), 0)
        image.putpalette([10, 20, 30, 200, 0, 0])
        image.paste(1, (0, 0, 8, 4))
        image.save(tmp_path / "x.png", transparency=0)

        decoded = decode_image(tmp_path / "x.png", 8, 3)

        assert decoded[:, 0, 0].tolist() == [200, 0, 0]
        assert decoded[:, 7, 7].tolist() == [255, 255, 255]

    @pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 7)), (6, (0, 7))])
    def test_the_exif_orientation_is_applied(self, tmp_path, orientation, corner):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[:4, :4] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif, quality=100)

        image = decode_image(tmp_path / "x.jpg", 8, 1)[0]

        bright = {pixel for pixel in ((0, 0), (0, 7), (7, 0), (7, 7)) if image[pixel] > 200}
        assert bright == {corner}

    def test_images_are_center_cropped_to_a_square(self, tmp_path):
        pixels = np.full((8, 16), 255, np.uint8)
        pixels[:, 4:12] = 77
        for oriented in (pixels, pixels.T):
            Image.fromarray(oriented).save(tmp_path / "x.png")

            assert np.unique(decode_image(tmp_path / "x.png", 8, 1)).tolist() == [77]


class TestResizing:
    def test_images_of_the_requested_size_are_unchanged(self):
        images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
        np.testing.assert_array_equal(resize_images(images, 4)[:, 0], images)

    @pytest.mark.parametrize("size", [8, 64])
    def test_constant_images_stay_constant(self, size):
        resized = resize_images(np.full((3, 28, 28), 60, np.uint8), size)

        assert resized.shape == (3, 1, size, size)
        assert resized.dtype == np.uint8
        assert np.unique(resized).tolist() == [60]


class TestHeaders:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "F"])
    def test_images_with_one_channel_are_gray(self, tmp_path, mode):
        Image.new(mode, (4, 4)).save(tmp_path / ("x.tif" if mode == "F" else "x.png"))
        assert read_header(next(tmp_path.iterdir())).gray

    @pytest.mark.parametrize(("color", "gray"), [((9, 9, 9), True), ((9, 9, 8), False)])
    def test_a_palette_is_gray_if_all_its_colors_are(self, tmp_path, color, gray):
        image = Image.new("P", (4, 4), 1)
        image.putpalette([0, 0, 0, *color])
        image.save(tmp_path / "x.png")

        assert read_header(tmp_path / "x.png").gray == gray

    def test_the_range_of_values_is_known_for_more_than_eight_bits_only(self, tmp_path):
        Image.fromarray(np.array([[5, 700]], np.uint16)).save(tmp_path / "deep.png")
        Image.fromarray(np.array([[5, 70]], np.uint8)).save(tmp_path / "plain.png")

        assert read_header(tmp_path / "deep.png").levels == (5, 700)
        assert read_header(tmp_path / "plain.png").levels is None

    def test_values_that_are_not_finite_are_rejected(self, tmp_path):
        Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "x.tif")

        with pytest.raises(ValueError, match="not finite"):
            read_header(tmp_path / "x.tif")


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
