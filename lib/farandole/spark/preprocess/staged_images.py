"""Encoded images between the tasks of preprocess: appended to a file as they are decoded, and read from there straight
into the row group in which they are stored.

Every try of a task writes a file of its own, and the staged rows say in which one and where their images are. So a task
that Spark runs again, or twice at once, leaves rows that fit their images, whoever is the last to write them.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from farandole.errors import DataError

FIELDS = (
    pa.field("images", pa.int64(), nullable=False),  # the number of the file
    pa.field("start", pa.int64(), nullable=False),  # the byte of the file at which the image starts
    pa.field("size", pa.int64(), nullable=False),  # of the image, in bytes
)
"""Where a staged row's image is."""
MAX_OPEN_FILES = 256


class ImageFile:
    """A new file of staging/images, to append to."""

    def __init__(self, staging: Path) -> None:
        self._number, self._end = secrets.randbits(63), 0
        path = _path(staging, self._number)
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("xb")

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Writes images; returns the columns of FIELDS, int64 [n] each. They can be read when this returns."""
        self._file.write(b"".join(images))
        self._file.flush()
        sizes = np.array([len(image) for image in images], np.int64)
        starts = self._end + np.cumsum(sizes) - sizes
        self._end += int(sizes.sum())
        return {"images": np.full(len(images), self._number), "start": starts, "size": sizes}


class StagedImages:
    """Reads images of all parts, for one Spark task at a time: its files are closed with the last reference to it."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._open: dict[int, BinaryIO] = {}

    def take(self, files: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> pa.Array:
        """Images as a binary array.

        Args:
            files, starts, sizes: int64 [n] each, the columns of FIELDS; less than 2 GB together.

        Raises:
            DataError: a file of staging/images ends too early; names it.
        """
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        data = np.empty(offsets[-1], np.uint8)
        for row in np.lexsort((starts, files)).tolist():
            self._read(int(files[row]), int(starts[row]), data[offsets[row] : offsets[row + 1]].data)
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.binary(), len(sizes), buffers)

    def _read(self, number: int, start: int, out: memoryview) -> None:
        file = self._open.get(number) or self._open_file(number)
        while out:
            num_read = os.preadv(file.fileno(), [out], start)
            if not num_read:
                raise DataError(f"{file.name} ends at byte {start}, before an image does; run preprocess again")
            out, start = out[num_read:], start + num_read

    def _open_file(self, number: int) -> BinaryIO:
        if len(self._open) >= MAX_OPEN_FILES:
            self._open.pop(next(iter(self._open))).close()
        file = self._open[number] = _path(self._staging, number).open("rb", buffering=0)
        # The rows of a file of clean/ come from many files: what stands behind one of them is not read next.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return file


def _path(staging: Path, number: int) -> Path:
    return staging / "images" / f"{number}.bin"
