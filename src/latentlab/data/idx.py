"""The IDX format of the MNIST family: big-endian magic, dimensions, then raw bytes.

Source: http://yann.lecun.com/exdb/mnist (section "File formats").
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from latentlab.common.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int, largest: int) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes as an array of `dimensions` axes.

    `largest` bounds the bytes of pixels or labels, in case the header lies.
    Everything is checked before memory is allocated; DataError names the file and the fault.
    """
    try:
        with gzip.open(path, "rb") as stream:
            shape = _read_header(stream.read(4 + 4 * dimensions), path, dimensions)
            expected = int(np.prod(shape, dtype=object))
            if expected > largest:
                raise DataError(
                    f"{path}: its header claims {expected} bytes, at most {largest} fit"
                )
            # one byte more than promised shows a file that is longer than its header says
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as broken:
        raise DataError(f"{path}: not a readable gzip file ({broken}); fetch it again") from None
    if len(content) != expected:
        found = "more" if len(content) > expected else str(len(content))
        raise DataError(f"{path}: its header promises {expected} bytes, the file holds {found}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(header: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    if len(header) != 4 + 4 * dimensions:
        raise DataError(f"{path}: too short for an IDX header of {dimensions} dimensions")
    zeros, kind, axes = struct.unpack(">HBB", header[:4])
    if zeros != 0:
        raise DataError(f"{path}: not an IDX file (its first two bytes are not zero)")
    if kind != UNSIGNED_BYTE:
        raise DataError(f"{path}: holds IDX type 0x{kind:02x}; only unsigned bytes (0x08) are read")
    if axes != dimensions:
        raise DataError(f"{path}: has {axes} dimensions, {dimensions} were expected")
    return struct.unpack(f">{dimensions}I", header[4:])


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes as a gzipped IDX file, the same bytes for the same array."""
    header = struct.pack(">HBB", 0, UNSIGNED_BYTE, array.ndim)
    header += struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0))
