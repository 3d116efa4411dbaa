"""Rows on their way to their file: one spill file per map task, in which each reduce task finds its rows by an offset.

Layout of a spill file: Arrow IPC messages in the order of their destination files, then int64 [num_files + 1] byte
offsets. Uncompressed and read through a memory map, so that a row is copied only when it is sorted into its place.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from farandole.core.dataset.schema import clean_schema
from farandole.core.plan.layout import split_evenly


def spilled_schema(side_columns: Mapping[str, str]) -> pa.Schema:
    """Columns of a spill file: clean rows, which copy each is, and the key that orders them.

    Args:
        side_columns: as in the manifest.
    """
    return pa.schema([*clean_schema(side_columns), pa.field("copy", pa.int32()), pa.field("key", pa.uint64())])


@dataclass(frozen=True)
class Pile:
    """The rows that one piece sends to the output files; [m] each, sorted by file and in it by key."""

    rows: pa.Table
    """Of the piece, as they were read."""
    positions: np.ndarray
    """int64, into rows."""
    copies: np.ndarray
    """int32."""
    keys: np.ndarray
    """uint64."""
    bounds: np.ndarray
    """int64 [num_files + 1]: rows bounds[f] to bounds[f + 1] are for output file f."""

    def batches(self, file: int, schema: pa.Schema, max_rows: int) -> Iterator[pa.RecordBatch]:
        """What is for one file, of schema `spilled_schema`; no more than max_rows are copied at a time."""
        start = int(self.bounds[file])
        for num_rows in split_evenly(int(self.bounds[file + 1]) - start, max_rows):
            part = slice(start, start + num_rows)
            taken = self.rows.take(pa.array(self.positions[part])).combine_chunks().to_batches()[0].columns
            columns = [*taken, pa.array(self.copies[part]), pa.array(self.keys[part])]
            yield pa.record_batch(columns, schema=schema)
            start += num_rows


def make_pile(
    rows: pa.Table, *, positions: np.ndarray, copies: np.ndarray, keys: np.ndarray, files: np.ndarray, num_files: int
) -> Pile:
    """Sorts rows[positions] by file and key.

    Args:
        rows: with the columns of clean/; one Arrow chunk per column is copied fastest.
        positions: int64 [m].
        copies: int32 [m].
        keys: uint64 [m].
        files: int64 [m], below num_files.
        num_files: of all splits together.
    """
    order = np.lexsort((keys, files))
    bounds = np.searchsorted(files[order], np.arange(num_files + 1))
    return Pile(rows, positions[order], copies[order], keys[order], bounds)


def write_spill(path: Path, schema: pa.Schema, files: Iterable[Iterable[pa.RecordBatch]]) -> None:
    """Writes what goes to each output file in turn.

    To a sibling that is renamed, so that a task that Spark runs twice leaves one whole file.
    """
    offsets = []
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with pa.OSFile(str(partial), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as stream:
            for batches in files:
                offsets.append(sink.tell())
                for batch in batches:
                    stream.write_batch(batch)
            offsets.append(sink.tell())
        sink.write(np.array(offsets, np.int64).tobytes())  # after the stream's end marker
    partial.replace(path)


def read_spill(path: Path, schema: pa.Schema, file: int, num_files: int) -> Iterator[pa.RecordBatch]:
    """The rows of a spill file of `num_files` that belong to output file number `file`; nothing else is read."""
    tail_bytes = 8 * (num_files + 1)
    with pa.memory_map(str(path)) as source:
        tail = source.read_at(16, source.size() - tail_bytes + 8 * file)
        start, stop = np.frombuffer(tail, dtype=np.int64)
        source.seek(int(start))
        buffer = source.read_buffer(int(stop - start))
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(buffer)):
        if message.type == "record batch":  # the stream's schema stands before the first batch
            yield pa.ipc.read_record_batch(message, schema)
