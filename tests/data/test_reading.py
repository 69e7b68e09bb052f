import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from crafting import png_with_size, write_pictures
from latentlab.common.errors import DataError
from latentlab.data.reading import digest_files, read_files


@pytest.fixture
def pictures(tmp_path):
    """A folder with two classes of five gray images each."""
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "pets" / name, 5)
    return tmp_path / "pets"


def files_of(folder, pattern="*/*"):
    return sorted(folder.glob(pattern))


def digest_of(folder):
    return digest_files(folder, files_of(folder))


def read_error(folder, channels="auto"):
    with pytest.raises(DataError) as caught:
        read_files(files_of(folder), 8, channels, "full")
    assert caught.value.exit_code == 3
    return caught.value


class TestReading:
    def test_images_are_in_the_order_of_their_files(self, pictures):
        images, _ = read_files(files_of(pictures), 12, 1, "full")

        first = np.asarray(Image.open(pictures / "cat/0.png"))
        last = np.asarray(Image.open(pictures / "dog/4.png"))
        np.testing.assert_array_equal(images[0, 0], first)
        np.testing.assert_array_equal(images[-1, 0], last)

    def test_images_of_different_sizes_are_resized(self, pictures):
        write_pictures(pictures / "cow", 5, size=(40, 17))
        write_pictures(pictures / "elk", 5, size=(3, 3))

        images, _ = read_files(files_of(pictures), 8, "auto", "full")

        assert images.shape == (20, 1, 8, 8)

    def test_automatic_channels_are_gray_if_every_image_is_gray(self, pictures):
        images, _ = read_files(files_of(pictures), 8, "auto", "full")
        assert images.shape == (10, 1, 8, 8)

    def test_automatic_channels_are_rgb_if_one_image_is_rgb(self, pictures):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_files(files_of(pictures), 8, "auto", "full")
        assert images.shape == (11, 3, 8, 8)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_number_of_channels_can_be_set(self, pictures, channels):
        Image.new("RGB", (9, 9), "red").save(pictures / "dog/9.png")
        images, _ = read_files(files_of(pictures), 8, channels, "full")
        assert images.shape == (11, channels, 8, 8)

    def test_the_sizes_of_the_smallest_and_the_largest_file_are_returned(self, pictures):
        write_pictures(pictures / "cow", 1, size=(40, 17))
        write_pictures(pictures / "elk", 1, size=(30, 3))

        _, originals = read_files(files_of(pictures), 8, 1, "full")

        assert (originals.smallest, originals.largest) == ((30, 3), (40, 17))

    def test_memory_for_the_images_is_allocated_once(self, tmp_path):
        write_pictures(tmp_path / "many", 100, size=(8, 8))
        files = files_of(tmp_path, "many/*")
        size = 256 * 256 * len(files)
        read_files(files[:2], 8, 1, "full")  # imports

        tracemalloc.start()
        read_files(files, 256, 1, "full")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert size < peak < 1.5 * size


class TestScale:
    """The values of images with more than 8 bits that become black and white."""

    @pytest.fixture
    def deep(self, tmp_path):
        """Two images of 16 bits, with values from 1000 to 3000, and one of 8 bits."""
        for name, values in {"a": [1000, 2000], "b": [2000, 3000]}.items():
            pixels = np.repeat(np.array([values], np.uint16), 4, 1).repeat(8, 0)
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.new("L", (8, 8), 77).save(tmp_path / "c.png")
        return sorted(tmp_path.glob("*.png"))

    @staticmethod
    def corners(files, scale):
        images, originals = read_files(files, 8, 1, scale)
        return [[int(image[0, 0, 0]), int(image[0, 7, 7])] for image in images], originals.notes

    def test_full_uses_all_sixteen_bits_and_notes_a_small_range(self, deep, message):
        values, notes = self.corners(deep, "full")

        assert values == [[4, 8], [8, 12], [77, 77]]
        message("data/reading: small range", "\n".join(notes))

    def test_content_uses_the_range_of_all_images(self, deep):
        assert self.corners(deep, "content") == ([[0, 128], [128, 255], [77, 77]], ())

    def test_two_values_are_black_and_white(self, deep):
        assert self.corners(deep, (2000, 2500)) == ([[0, 0], [0, 255], [77, 77]], ())

    def test_floating_point_images_have_no_full_range(self, tmp_path, message):
        Image.fromarray(np.eye(8, dtype=np.float32)).save(tmp_path / "x.tif")

        with pytest.raises(DataError) as caught:
            read_files([tmp_path / "x.tif"], 8, 1, "full")

        message("data/reading: no full range", caught.value)
        assert self.corners([tmp_path / "x.tif"], "content") == ([[255, 255]], ())

    def test_sixteen_bits_per_color_are_noted(self, tmp_path, message):
        (tmp_path / "x.png").write_bytes(png_with_size(4, 4, bits=16, color=2))

        notes = read_files([tmp_path / "x.png"], 8, 3, "full")[1].notes

        message("data/reading: sixteen bits per color", "\n".join(notes))


class TestUnreadableFiles:
    def test_an_unreadable_file_is_named_with_its_error(self, pictures, message):
        (pictures / "cat/1.png").write_bytes(b"not an image")

        message("data/reading: unreadable file", read_error(pictures))

    def test_the_first_five_are_named_and_the_others_counted(self, pictures, message):
        for file in [*pictures.glob("cat/*"), *pictures.glob("dog/[0-2]*")]:
            file.write_bytes(b"not an image")

        message("data/reading: unreadable files", read_error(pictures))

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
