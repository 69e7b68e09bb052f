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
    """A folder with two classes of five gray images each."""
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "pets" / name, 5)
    return tmp_path / "pets"


def digest_of(folder):
    files = [file for members in list_classes(folder).values() for file in members]
    return digest_files(folder, files)


def list_error(folder):
    with pytest.raises(DataError) as caught:
        list_classes(folder)
    return caught.value


def read_error(folder, channels="auto"):
    with pytest.raises(DataError) as caught:
        read_folder(list_classes(folder), 8, channels)
    assert caught.value.exit_code == 3
    return caught.value


class TestListing:
    def test_classes_and_files_are_sorted(self, pictures):
        classes = list_classes(pictures)

        assert list(classes) == ["cat", "dog"]
        assert [file.name for file in classes["dog"]] == [f"{n}.png" for n in range(5)]

    def test_png_and_jpeg_files_are_listed_whatever_their_case(self, pictures):
        shutil.copy(pictures / "cat/0.png", pictures / "cat/UPPER.PNG")
        Image.new("RGB", (4, 4)).save(pictures / "cat/photo.jpeg")
        (pictures / "cat/notes.txt").write_text("not an image")
        (pictures / "README.md").write_text("not a class")

        names = [file.name for file in list_classes(pictures)["cat"]]

        assert names == [*(f"{n}.png" for n in range(5)), "UPPER.PNG", "photo.jpeg"]

    def test_hidden_files_and_folders_are_ignored(self, pictures):
        (pictures / "cat/._0.png").write_bytes(b"metadata of macOS")
        write_pictures(pictures / ".thumbnails", 5)

        classes = list_classes(pictures)

        assert list(classes) == ["cat", "dog"]
        assert len(classes["cat"]) == 5

    def test_an_empty_class_is_ignored(self, pictures):
        (pictures / "bird").mkdir()
        (pictures / "cow").mkdir()
        (pictures / "cow/.DS_Store").write_bytes(b"metadata of macOS")

        assert list(list_classes(pictures)) == ["cat", "dog"]

    def test_classes_with_images_of_other_formats_only_are_rejected(self, pictures, message):
        write_pictures(pictures / "bird", 5, suffix=".webp")
        write_pictures(pictures / "cow", 5, suffix=".bmp")

        message("data/folders: other formats", list_error(pictures))

    def test_fewer_than_two_classes_are_rejected(self, pictures, message):
        shutil.rmtree(pictures / "dog")

        message("data/folders: one class", list_error(pictures))

    def test_images_outside_class_folders_are_not_a_class(self, tmp_path, message):
        write_pictures(tmp_path, 9)

        message("data/folders: no classes", list_error(tmp_path))

    def test_all_classes_with_too_few_images_are_named(self, pictures, message):
        write_pictures(pictures / "ant", 4)
        write_pictures(pictures / "bee", 1)

        message("data/folders: too few images", list_error(pictures))


class TestReading:
    def test_labels_are_the_indices_of_the_classes(self, pictures):
        images, labels = read_folder(list_classes(pictures), 8, "auto")

        assert images.dtype == np.uint8
        assert labels.tolist() == [0] * 5 + [1] * 5

    def test_images_are_in_the_order_of_their_files(self, pictures):
        images, _ = read_folder(list_classes(pictures), 12, 1)

        first = np.asarray(Image.open(pictures / "cat/0.png"))
        last = np.asarray(Image.open(pictures / "dog/4.png"))
        np.testing.assert_array_equal(images[0, 0], first)
        np.testing.assert_array_equal(images[-1, 0], last)

    def test_images_of_different_sizes_are_resized(self, pictures):
        write_pictures(pictures / "cow", 5, size=(40, 17))
        write_pictures(pictures / "elk", 5, size=(3, 3))

        images, _ = read_folder(list_classes(pictures), 8, "auto")

        assert images.shape == (20, 1, 8, 8)

    def test_automatic_channels_are_gray_if_every_image_is_gray(self, pictures):
        images, _ = read_folder(list_classes(pictures), 8, "auto")
        assert images.shape == (10, 1, 8, 8)

    def test_automatic_channels_are_rgb_if_one_image_is_rgb(self, pictures):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_folder(list_classes(pictures), 8, "auto")
        assert images.shape == (11, 3, 8, 8)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_number_of_channels_can_be_set(self, pictures, channels):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_folder(list_classes(pictures), 8, channels)
        assert images.shape == (11, channels, 8, 8)


class TestUnreadableFiles:
    def test_an_unreadable_file_is_named_with_its_error(self, pictures, message):
        (pictures / "cat/1.png").write_bytes(b"not an image")

        message("data/folders: unreadable file", read_error(pictures))

    def test_the_first_five_are_named_and_the_others_counted(self, pictures, message):
        for file in [*pictures.glob("cat/*"), *pictures.glob("dog/[0-2]*")]:
            file.write_bytes(b"not an image")

        message("data/folders: unreadable files", read_error(pictures))

    def test_damaged_headers_and_damaged_pixels_are_reported_together(self, pictures):
        complete = (pictures / "cat/1.png").read_bytes()
        (pictures / "cat/1.png").write_bytes(b"not an image")
        (pictures / "cat/2.png").write_bytes(complete[:-60])
        (pictures / "dog/0.png").write_bytes(b"")

        error = str(read_error(pictures))

        for name in ("cat/1.png", "cat/2.png", "dog/0.png"):
            assert name in error

    @pytest.mark.parametrize("side", [10_000, 50_000])
    def test_an_image_that_decompresses_to_gigabytes_is_rejected(self, pictures, side):
        (pictures / "dog/0.png").write_bytes(png_with_size(side, side))

        assert "dog/0.png: Image size" in str(read_error(pictures, channels=1))


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


class TestDigest:
    def test_it_is_equal_for_equal_folders_and_states_the_number_of_files(self, pictures, tmp_path):
        shutil.copytree(pictures, tmp_path / "elsewhere" / "pets")

        assert digest_of(pictures) == digest_of(tmp_path / "elsewhere" / "pets")
        assert list(digest_of(pictures)) == ["pets/ (10 files)"]

    def test_it_depends_on_content_file_names_and_class_names(self, pictures):
        digests = [digest_of(pictures)]
        shutil.copy(pictures / "cat/0.png", pictures / "cat/1.png")
        digests.append(digest_of(pictures))
        (pictures / "cat/0.png").rename(pictures / "cat/first.png")
        digests.append(digest_of(pictures))
        (pictures / "cat").rename(pictures / "cow")
        digests.append(digest_of(pictures))

        assert len({str(digest) for digest in digests}) == len(digests)


def png_with_size(width, height):
    """Return a small PNG file whose header claims this size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
