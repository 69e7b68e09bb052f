import gzip
import tracemalloc

import numpy as np
import pytest

from crafting import idx_header, random_images, write_gzip
from latentlab.common.errors import DataError
from latentlab.data.idx import read_idx, write_idx

LARGEST = 1 << 31


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images.gz"


def refusal(path, dimensions=3):
    """What is said of a file that must not be read."""
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions, LARGEST)
    assert caught.value.exit_code == 3
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 28, 28), (0, 4, 4)])
def test_what_was_written_is_read_back(path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_idx(path, array)

    read = read_idx(path, len(shape), LARGEST)

    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


def test_the_same_array_gives_the_same_bytes(tmp_path):
    write_idx(tmp_path / "first.gz", random_images(5))
    write_idx(tmp_path / "second.gz", random_images(5))

    assert (tmp_path / "first.gz").read_bytes() == (tmp_path / "second.gz").read_bytes()


def test_the_header_is_that_of_the_format(path):
    write_idx(path, random_images(2, size=3))

    content = gzip.decompress(path.read_bytes())

    assert content[:16] == bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3])


def test_a_wrong_magic_is_refused(path):
    write_gzip(path, idx_header(2, 2, 2, zeros=7) + bytes(8))
    assert "not an IDX file" in refusal(path)


def test_a_type_other_than_unsigned_bytes_is_refused(path):
    write_gzip(path, idx_header(2, 2, 2, kind=0x0D) + bytes(8))
    assert "type 0x0d" in refusal(path)


def test_labels_in_place_of_images_are_refused(path):
    write_gzip(path, idx_header(100) + bytes(100))
    assert "has 1 dimensions, 3 were expected" in refusal(path)


def test_a_file_shorter_than_its_header_says_is_refused(path):
    write_gzip(path, idx_header(3, 2, 2) + bytes(8))
    assert "promises 12 bytes, the file holds 8" in refusal(path)


def test_a_file_longer_than_its_header_says_is_refused(path):
    write_gzip(path, idx_header(2, 2, 2) + bytes(9))
    assert "promises 8 bytes, the file holds more" in refusal(path)


def test_a_file_without_room_for_a_header_is_refused(path):
    write_gzip(path, b"\0\0\x08")
    assert "too short" in refusal(path)


def test_a_header_that_claims_terabytes_is_refused_before_memory_is_taken(path):
    write_gzip(path, idx_header(2**20, 2**10, 2**10) + bytes(100))

    tracemalloc.start()
    message = refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert f"claims {2**40} bytes" in message
    assert peak < 1 << 20


def test_a_header_whose_size_overflows_64_bits_is_refused(path):
    write_gzip(path, idx_header(2**32 - 1, 2**32 - 1, 2**32 - 1))
    assert f"claims {(2**32 - 1) ** 3} bytes" in refusal(path)


def test_a_bomb_is_not_unpacked_past_what_its_header_says(path):
    write_gzip(path, idx_header(1, 2, 2) + bytes(1 << 25))

    tracemalloc.start()
    message = refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "the file holds more" in message
    assert peak < 1 << 22


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, kept):
    write_idx(path, random_images(50))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "not a readable gzip file" in refusal(path)


def test_a_damaged_byte_is_noticed(path):
    write_idx(path, random_images(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("content", [b"", b"not gzip at all", idx_header(1, 2, 2) + bytes(4)])
def test_a_file_that_is_not_gzip_is_refused(path, content):
    path.write_bytes(content)
    refusal(path)


def test_a_missing_file_is_refused(path):
    assert "No such file" in refusal(path)
