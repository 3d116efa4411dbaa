"""Rows on their way to their file: one spill file per map task, in which each reduce task finds its rows by an offset.

Layout of a spill file: Arrow IPC messages, sorted by destination file and in it by key, then int64 [num_files + 1] byte
offsets.
Uncompressed and read through a memory map, so that a row is copied only when it is sorted into its place.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from farandole.core.layout import split_evenly
from farandole.core.schema import clean_schema


def spilled_schema(side_columns: Mapping[str, str]) -> pa.Schema:
    """Columns of a spill file: clean rows, which copy each is, and the key that orders them.

    Args:
        side_columns: as in the manifest.
    """
    return pa.schema([*clean_schema(side_columns), pa.field("copy", pa.int32()), pa.field("key", pa.uint64())])


def write_spill(
    path: Path,
    rows: pa.Table,
    schema: pa.Schema,
    *,
    positions: np.ndarray,
    copies: np.ndarray,
    keys: np.ndarray,
    destinations: np.ndarray,
    num_files: int,
    max_batch_rows: int,
) -> None:
    """Writes rows[positions], grouped by destination and in the order of their keys.

    Written to a sibling and renamed, so that a task that Spark runs twice leaves one whole file.

    Args:
        path: of the spill file.
        rows: with the columns of clean/; one Arrow chunk per column reads fastest.
        schema: of `spilled_schema`.
        positions: int64 [m] into rows.
        copies: int32 [m].
        keys: uint64 [m].
        destinations: int64 [m], below num_files.
        num_files: of all splits together.
        max_batch_rows: bounds the memory that is taken at a time.
    """
    order = np.lexsort((keys, destinations))
    bounds = np.searchsorted(destinations[order], np.arange(num_files + 1))
    offsets = np.empty(num_files + 1, dtype=np.int64)
    rows = rows.cast(pa.schema([schema.field(name) for name in rows.schema.names]))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with pa.OSFile(str(partial), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as stream:
            for file in range(num_files):
                offsets[file] = sink.tell()
                start = bounds[file]
                for num_rows in split_evenly(int(bounds[file + 1] - start), max_batch_rows):
                    batch = order[start : start + num_rows]
                    taken = rows.take(pa.array(positions[batch])).combine_chunks().to_batches()[0].columns
                    columns = [*taken, pa.array(copies[batch]), pa.array(keys[batch])]
                    stream.write_batch(pa.record_batch(columns, schema=schema))
                    start += num_rows
            offsets[num_files] = sink.tell()
        sink.write(offsets.tobytes())  # after the stream's end marker
    partial.replace(path)


def read_spill(path: Path, schema: pa.Schema, file: int, num_files: int) -> Iterator[pa.RecordBatch]:
    """The rows of a spill file that belong to output file number `file`; nothing else is read from disk."""
    tail_bytes = 8 * (num_files + 1)
    with pa.memory_map(str(path)) as source:
        tail = source.read_at(16, source.size() - tail_bytes + 8 * file)
        start, stop = np.frombuffer(tail, dtype=np.int64)
        source.seek(int(start))
        buffer = source.read_buffer(int(stop - start))
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(buffer)):
        if message.type == "record batch":  # the stream's schema stands before the first batch
            yield pa.ipc.read_record_batch(message, schema)
