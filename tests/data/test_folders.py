import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from crafting import write_pictures
from latentlab.common.errors import DataError
from latentlab.data.folders import (
    decode_image,
    digest_files,
    list_classes,
    read_folder,
    resize_images,
)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of five grey pictures each."""
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "pets" / name, 5)
    return tmp_path / "pets"


def digest_of(folder):
    files = [file for members in list_classes(folder).values() for file in members]
    return digest_files(folder, files)


def refusal(folder, channels="auto"):
    with pytest.raises(DataError) as caught:
        read_folder(list_classes(folder), 8, channels)
    assert caught.value.exit_code == 3
    return str(caught.value)


class TestListing:
    def test_classes_and_files_come_sorted(self, pictures):
        classes = list_classes(pictures)

        assert list(classes) == ["cat", "dog"]
        assert [file.name for file in classes["dog"]] == [f"{n}.png" for n in range(5)]

    def test_png_and_jpeg_count_in_either_case_and_nothing_else_does(self, pictures):
        shutil.copy(pictures / "cat/0.png", pictures / "cat/LOUD.PNG")
        Image.new("RGB", (4, 4)).save(pictures / "cat/photo.jpeg")
        (pictures / "cat/notes.txt").write_text("not an image")
        (pictures / "README.md").write_text("not a class")

        names = [file.name for file in list_classes(pictures)["cat"]]

        assert names == [*(f"{n}.png" for n in range(5)), "LOUD.PNG", "photo.jpeg"]

    def test_hidden_files_and_folders_are_left_out(self, pictures):
        (pictures / "cat/._0.png").write_bytes(b"what macOS leaves beside a file")
        write_pictures(pictures / ".thumbnails", 5)

        classes = list_classes(pictures)

        assert list(classes) == ["cat", "dog"]
        assert len(classes["cat"]) == 5

    def test_an_empty_class_is_left_out(self, pictures):
        (pictures / "bird").mkdir()
        assert list(list_classes(pictures)) == ["cat", "dog"]

    @pytest.mark.parametrize("suffix", [".webp", ".bmp", ".gif"])
    def test_a_class_with_pictures_of_other_formats_alone_is_refused(self, pictures, suffix):
        write_pictures(pictures / "bird", 5, suffix=suffix)
        write_pictures(pictures / "cow", 5, suffix=suffix)
        with pytest.raises(DataError, match=r"no .png or .jpg files in 'bird', 'cow', .* convert"):
            list_classes(pictures)

    def test_hidden_files_alone_make_an_empty_class(self, pictures):
        (pictures / "bird").mkdir()
        (pictures / "bird/.DS_Store").write_bytes(b"macOS")
        assert list(list_classes(pictures)) == ["cat", "dog"]

    def test_a_single_class_is_too_few(self, pictures):
        shutil.rmtree(pictures / "dog")
        with pytest.raises(DataError, match=r"found 1 classes .* at least 2 .*/<class>/"):
            list_classes(pictures)

    def test_images_outside_of_class_folders_are_too_few_classes(self, tmp_path):
        write_pictures(tmp_path, 9)
        with pytest.raises(DataError, match="found 0 classes"):
            list_classes(tmp_path)

    def test_every_class_with_too_few_images_is_named(self, pictures):
        write_pictures(pictures / "ant", 4)
        write_pictures(pictures / "bee", 1)
        with pytest.raises(DataError, match=r"too few images .* 'ant', 'bee'; at least 5"):
            list_classes(pictures)


class TestReading:
    def test_labels_number_the_classes_in_their_order(self, pictures):
        images, labels = read_folder(list_classes(pictures), 8, "auto")

        assert images.dtype == np.uint8
        assert labels.tolist() == [0] * 5 + [1] * 5

    def test_images_come_in_the_order_of_their_files(self, pictures):
        images, _ = read_folder(list_classes(pictures), 12, 1)

        first = np.asarray(Image.open(pictures / "cat/0.png"))
        last = np.asarray(Image.open(pictures / "dog/4.png"))
        np.testing.assert_array_equal(images[0, 0], first)
        np.testing.assert_array_equal(images[-1, 0], last)

    def test_sizes_may_differ(self, pictures):
        write_pictures(pictures / "cow", 5, size=(40, 17))
        write_pictures(pictures / "elk", 5, size=(3, 3))

        images, _ = read_folder(list_classes(pictures), 8, "auto")

        assert images.shape == (20, 1, 8, 8)

    def test_automatic_channels_are_grey_where_every_image_is(self, pictures):
        images, _ = read_folder(list_classes(pictures), 8, "auto")
        assert images.shape == (10, 1, 8, 8)

    def test_automatic_channels_are_rgb_as_soon_as_one_image_is(self, pictures):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_folder(list_classes(pictures), 8, "auto")
        assert images.shape == (11, 3, 8, 8)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_channels_can_be_demanded(self, pictures, channels):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_folder(list_classes(pictures), 8, channels)
        assert images.shape == (11, channels, 8, 8)


class TestUnreadableFiles:
    def test_they_are_named_with_their_fault(self, pictures):
        (pictures / "cat/1.png").write_bytes(b"no picture")

        message = refusal(pictures)

        assert message.startswith("1 of 10 image files cannot be read, nothing was written:")
        assert f"{pictures}/cat/1.png: cannot stage_fingerprint image file" in message
        assert "others" not in message

    def test_five_are_named_and_the_others_counted(self, pictures):
        for file in [*pictures.glob("cat/*"), *pictures.glob("dog/[0-2]*")]:
            file.write_bytes(b"no picture")

        message = refusal(pictures)

        assert message.startswith("8 of 10")
        assert [f"cat/{n}.png" in message for n in range(5)] == [True] * 5
        assert "dog/" not in message
        assert "and 3 others" in message

    def test_damage_in_the_head_and_damage_in_the_pixels_are_told_together(self, pictures):
        whole = (pictures / "cat/1.png").read_bytes()
        (pictures / "cat/1.png").write_bytes(b"no picture")
        (pictures / "cat/2.png").write_bytes(whole[:-60])

        message = refusal(pictures)

        assert message.startswith("2 of 10")
        assert "cat/1.png" in message
        assert "cat/2.png" in message

    def test_an_empty_file_is_one_of_them(self, pictures):
        (pictures / "dog/0.png").write_bytes(b"")
        assert "dog/0.png" in refusal(pictures)

    @pytest.mark.parametrize("side", [10_000, 50_000])
    def test_a_picture_that_unpacks_to_gigabytes_is_one_of_them(self, pictures, side):
        (pictures / "dog/0.png").write_bytes(png_that_claims(side, side))
        assert "dog/0.png: Image size" in refusal(pictures, channels=1)


class TestDecoding:
    def test_rgb_keeps_its_colours(self, tmp_path):
        Image.new("RGB", (10, 10), (200, 100, 50)).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 8, 3)

        assert image.shape == (3, 8, 8)
        assert [np.unique(channel).tolist() for channel in image] == [[200], [100], [50]]

    def test_rgb_becomes_grey_by_luminance(self, tmp_path):
        Image.new("RGB", (10, 10), (255, 0, 0)).save(tmp_path / "x.png")
        assert np.unique(decode_image(tmp_path / "x.png", 8, 1)).tolist() == [76]

    def test_grey_becomes_three_equal_channels(self, tmp_path):
        Image.new("L", (10, 10), 99).save(tmp_path / "x.png")
        assert np.unique(decode_image(tmp_path / "x.png", 8, 3)).tolist() == [99]

    def test_jpeg_is_read(self, tmp_path):
        Image.new("RGB", (16, 16), (10, 200, 30)).save(tmp_path / "x.jpg", quality=95)

        image = decode_image(tmp_path / "x.jpg", 8, 3)

        np.testing.assert_allclose(image.mean((1, 2)), [10, 200, 30], atol=2)

    def test_sixteen_bits_are_scaled_to_eight(self, tmp_path):
        values = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 4, 1)

        assert image[0, 0].tolist() == [0, 1, 128, 255]

    def test_black_and_white_of_one_bit_is_read(self, tmp_path):
        Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "x.png")

        image = decode_image(tmp_path / "x.png", 8, 1)

        np.testing.assert_array_equal(image[0], np.eye(8) * 255)

    def test_transparency_is_laid_over_white(self, tmp_path):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
        Image.new("LA", (8, 8), (0, 128)).save(tmp_path / "half.png")

        assert np.unique(decode_image(tmp_path / "clear.png", 8, 3)).tolist() == [255]
        assert np.unique(decode_image(tmp_path / "half.png", 8, 1)).tolist() == [127]

    def test_a_palette_with_a_transparent_colour_is_laid_over_white(self, tmp_path):
        image = Image.new("P", (8, 8), 0)
        image.putpalette([10, 20, 30, 200, 0, 0])
        image.paste(1, (0, 0, 8, 4))
        image.save(tmp_path / "x.png", transparency=0)

        decoded = decode_image(tmp_path / "x.png", 8, 3)

        assert decoded[:, 0, 0].tolist() == [200, 0, 0]
        assert decoded[:, 7, 7].tolist() == [255, 255, 255]

    @pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 7)), (6, (0, 7))])
    def test_the_orientation_of_a_camera_is_followed(self, tmp_path, orientation, corner):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[:4, :4] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif, quality=100)

        image = decode_image(tmp_path / "x.jpg", 8, 1)[0]

        bright = {place for place in ((0, 0), (0, 7), (7, 0), (7, 7)) if image[place] > 200}
        assert bright == {corner}

    @pytest.mark.parametrize("upright", [True, False])
    def test_the_middle_square_is_kept_of_an_oblong_picture(self, tmp_path, upright):
        pixels = np.full((8, 16), 255, np.uint8)
        pixels[:, 4:12] = 77
        Image.fromarray(pixels.T if upright else pixels).save(tmp_path / "x.png")

        assert np.unique(decode_image(tmp_path / "x.png", 8, 1)).tolist() == [77]


class TestResizing:
    def test_images_of_the_right_size_are_left_as_they_are(self):
        images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
        np.testing.assert_array_equal(resize_images(images, 4)[:, 0], images)

    @pytest.mark.parametrize("size", [8, 28, 64])
    def test_evenly_grey_images_stay_so_at_every_size(self, size):
        resized = resize_images(np.full((3, 28, 28), 60, np.uint8), size)

        assert resized.shape == (3, 1, size, size)
        assert resized.dtype == np.uint8
        assert np.unique(resized).tolist() == [60]


class TestDigest:
    def test_it_is_the_same_for_the_same_files(self, pictures, tmp_path):
        shutil.copytree(pictures, tmp_path / "elsewhere" / "pets")
        assert digest_of(pictures) == digest_of(tmp_path / "elsewhere" / "pets")

    def test_it_says_how_many_files_it_is_of(self, pictures):
        assert list(digest_of(pictures)) == ["pets/ (10 files)"]

    def test_it_changes_with_the_content_of_a_file(self, pictures):
        before = digest_of(pictures)
        shutil.copy(pictures / "cat/0.png", pictures / "cat/1.png")
        assert digest_of(pictures) != before

    def test_it_changes_with_the_name_of_a_file(self, pictures):
        before = digest_of(pictures)
        (pictures / "cat/0.png").rename(pictures / "cat/first.png")
        assert digest_of(pictures) != before

    def test_it_changes_with_the_class_of_a_file(self, pictures):
        before = digest_of(pictures)
        (pictures / "cat").rename(pictures / "cow")
        assert digest_of(pictures) != before


def png_that_claims(width, height):
    """A PNG of one bit per pixel, with hardly any pixels behind its head."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
