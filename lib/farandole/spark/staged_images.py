"""Encoded images between the two halves of preprocess: written once, as they are decoded, and copied once, into their
row group.

An Arrow IPC file per part, uncompressed and read through a memory map: its rows go to many files of clean/, each of
which takes a few.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema([pa.field("image", pa.binary(), nullable=False)])
MAX_OPEN_PARTS = 16_384
"""Mapped at a time; Linux allows a process 65,530 maps."""


class StagedImages:
    """The images of all staged parts, for one Spark task: it opens a part once, and closes all of them with the last
    reference to it."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._open: dict[int, tuple[list[pa.Array], np.ndarray]] = {}
        """By part: its arrays, and the row at which each starts."""

    @contextmanager
    def writer(self, part: int) -> Iterator[pa.RecordBatchFileWriter]:
        """For batches of SCHEMA; the file appears, whole, at the end."""
        target = _path(self._staging, part)
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            yield writer
        partial.replace(target)

    def take(self, parts: np.ndarray, rows: np.ndarray) -> pa.Array:
        """Images as a binary array.

        Args:
            parts: int [n].
            rows: int [n], of the part.
        """
        order = np.lexsort((rows, parts))
        runs = np.split(order, np.flatnonzero(np.diff(parts[order])) + 1)
        taken = [array for own in runs for array in self._taken(int(parts[own[0]]), rows[own])]
        return pa.concat_arrays(taken).take(pa.array(np.argsort(order)))

    def _taken(self, part: int, rows: np.ndarray) -> Iterator[pa.Array]:
        """Of ascending rows of one part."""
        if part not in self._open:
            if len(self._open) >= MAX_OPEN_PARTS:
                self._open.clear()
            with pa.memory_map(str(_path(self._staging, part))) as source:
                arrays = pa.ipc.open_file(source).read_all()["image"].chunks
            self._open[part] = arrays, np.cumsum([0, *map(len, arrays)])[:-1]
        arrays, starts = self._open[part]
        which = np.searchsorted(starts, rows, side="right") - 1
        for index in np.unique(which).tolist():
            yield arrays[index].take(pa.array(rows[which == index] - starts[index]))


def _path(staging: Path, part: int) -> Path:
    return staging / "images" / f"part-{part:05d}.arrow"
