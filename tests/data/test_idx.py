import tracemalloc

import numpy as np
import pytest

from crafting import idx_header, random_images, write_gzip, write_idx
from latentlab.common.errors import DataError
from latentlab.data.idx import read_idx

MAX_BYTES = 1 << 31


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images.gz"


def read_error(path, dimensions=3):
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions, MAX_BYTES)
    assert caught.value.exit_code == 3
    return caught.value


def peak_memory(function, *arguments):
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(7,), (3, 28, 28), (0, 4, 4)])
def test_a_written_array_is_read_back(path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_idx(path, array)

    read = read_idx(path, len(shape), MAX_BYTES)

    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/idx: wrong magic number", idx_header(2, 2, 2, zeros=7) + bytes(8)),
        ("data/idx: unsupported type", idx_header(2, 2, 2, kind=0x0D) + bytes(8)),
        ("data/idx: wrong number of dimensions", idx_header(100) + bytes(100)),
        ("data/idx: shorter than its header says", idx_header(3, 2, 2) + bytes(8)),
        ("data/idx: longer than its header says", idx_header(2, 2, 2) + bytes(9)),
        ("data/idx: no room for a header", b"\0\0\x08"),
    ],
)
def test_a_file_with_another_content_is_rejected(path, message, name, content):
    write_gzip(path, content)

    message(name, read_error(path))


def test_a_header_that_claims_terabytes_is_rejected_before_memory_is_allocated(path, message):
    write_gzip(path, idx_header(2**20, 2**10, 2**10) + bytes(100))

    assert peak_memory(read_error, path) < 1 << 20
    message("data/idx: claims terabytes", read_error(path))


def test_a_header_whose_size_overflows_64_bits_is_rejected(path, message):
    write_gzip(path, idx_header(2**32 - 1, 2**32 - 1, 2**32 - 1))

    message("data/idx: size overflows 64 bits", read_error(path))


def test_a_decompression_bomb_is_read_only_up_to_the_size_in_its_header(path):
    write_gzip(path, idx_header(1, 2, 2) + bytes(1 << 25))

    assert peak_memory(read_error, path) < 1 << 22


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_truncated_file_is_rejected(path, share):
    write_idx(path, random_images(50))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    read_error(path)


def test_a_changed_byte_is_detected(path):
    write_idx(path, random_images(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    read_error(path)


def test_a_file_that_is_not_gzip_is_rejected(path, message):
    for content in (b"", idx_header(1, 2, 2) + bytes(4), b"not gzip"):
        path.write_bytes(content)
        error = read_error(path)

    message("data/idx: not gzip", error)


def test_a_missing_file_is_rejected(path, message):
    message("data/idx: missing file", read_error(path))
