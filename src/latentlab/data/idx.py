"""The IDX format of the MNIST family: a big-endian magic number, the dimensions, then raw bytes.

Hand-written so that every size is checked before memory is allocated.
Source: http://yann.lecun.com/exdb/mnist (section "File formats").
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from latentlab.common.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int, max_bytes: int) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes as an array with `dimensions` axes.

    Raises DataError, before memory is allocated, if the file is damaged, has another type or
    number of dimensions, or claims to contain more than `max_bytes` bytes.
    """
    try:
        with gzip.open(path, "rb") as stream:
            shape = _read_header(stream.read(4 + 4 * dimensions), path, dimensions)
            expected = int(np.prod(shape, dtype=object))
            if expected > max_bytes:
                raise DataError(
                    f"{path}: the header claims {expected} bytes of data; at most {max_bytes} are "
                    "allowed. Replace the file."
                )
            # one byte more than expected shows a file that is longer than its header says
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file ({error}). Replace the file.") from None
    if len(content) != expected:
        actual = "more" if len(content) > expected else str(len(content))
        raise DataError(
            f"{path}: the header claims {expected} bytes of data, but the file contains {actual}. "
            "Replace the file."
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(header: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    if len(header) != 4 + 4 * dimensions:
        raise DataError(f"{path}: too short for an IDX header with {dimensions} dimensions")
    zeros, type_code, axes = struct.unpack(">HBB", header[:4])
    if zeros != 0:
        raise DataError(f"{path}: not an IDX file (the first two bytes are not zero)")
    if type_code != UNSIGNED_BYTE:
        raise DataError(
            f"{path}: IDX type 0x{type_code:02x} is not supported; allowed: unsigned bytes (0x08)"
        )
    if axes != dimensions:
        raise DataError(f"{path}: {dimensions} dimensions expected, but it has {axes}")
    return struct.unpack(f">{dimensions}I", header[4:])
