"""Pictures of an older version of clean/, taken over instead of decoding their files again.

The rule: a picture is taken over from the newest version that was decoded as this one will be, if it was kept there,
and its file is listed as before (id, name, size, time of change, and of a table's file the footer). Decoded as this
one: by this farandole and its decoders, with the settings of one decode_fingerprint, which labels and splits are no
part of; and stored as raw pixels. All other records are decoded, such as those that had an equal picture in a file that
is gone. Everything else, labels, equal pictures, splits, statistics and files, is worked out anew over all records; so
the result is that of a run without an older version, byte for byte.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from farandole.config.data import Image
from farandole.core.batches.raw_pages import find_values
from farandole.core.dataset.manifest import FileEntry, Manifest
from farandole.core.dataset.parquet import open_file, open_source, open_unlisted, write_file
from farandole.core.dataset.versions import read_versions
from farandole.core.fingerprint import content_hash, hash_ids, pixel_digest
from farandole.errors import DataError
from farandole.log import say
from farandole.spark.preprocess.originals import read_originals
from farandole.spark.source.listing import LISTING_NAME, read_listed
from farandole.spark.source.records import Part
from farandole.spark.tasks import run_tasks

MAX_ROWS = 5_000_000
"""Of a listing, and of a data set: the driver compares them at once, in about 1 GB; larger ones are decoded anew."""
_KEYS = ("id", "source", "path", "row_group", "start", "stop", "num_bytes", "footer", "modified_ns")
"""What must be as it was, as far as a listing has it."""
_UNCHANGED_NAME, _INDEX_NAME = "unchanged.parquet", "old_pictures.arrow"
_INDEX = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),  # hash of the id; ascending
        pa.field("id", pa.string(), nullable=False),
        pa.field("content_hash", pa.int64(), nullable=False),
        pa.field("file", pa.int32(), nullable=False),  # index into OldPictures.files
        pa.field("start", pa.int64(), nullable=False),  # the byte of the file where the pixels begin
        pa.field("original", pa.int64(), nullable=False),  # as clean/originals has it
    ]
)


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded picture."""

    pixels: np.ndarray
    """uint8 [height, width, channels]."""
    original: int
    """What fingerprint.original_hash says of what was decoded."""


@dataclass(frozen=True)
class OldPictures:
    """What can be taken over: the rows of staging/old_pictures.arrow."""

    files: list[Path]


def plan_reuse(
    spark: SparkSession, stage: Path, rules: Image, staging: Path, *, settings: str, decoders: str
) -> OldPictures:
    """Writes staging/unchanged.parquet: whether the old listing has a row of the new one as it is; and
    staging/old_pictures.arrow: where the old version has which picture.

    Args:
        spark: whose executors look at the old pictures.
        stage: clean/.
        rules: of the new version.
        staging: of the new version, with its listing.
        settings: the decode_fingerprint of the new version.
        decoders: what its manifest will be created_by.
    """
    nothing = OldPictures([])
    new = open_unlisted(staging / LISTING_NAME)
    same = (
        (directory, manifest)
        for directory, manifest in read_versions(stage)
        if (manifest.decode_fingerprint, manifest.created_by) == (settings, decoders)
    )
    directory, manifest = next(same, (None, None))
    if rules.encoding != "raw" or directory is None or manifest is None:
        return nothing
    try:
        old = open_unlisted(directory / LISTING_NAME)
    except (DataError, OSError, pa.ArrowException):  # pictures can be decoded anew
        return nothing
    largest = max(new.metadata.num_rows, old.metadata.num_rows, manifest.input_rows)
    if largest > MAX_ROWS:
        say(f"preprocess: decoding all pictures anew, because there are {largest} records, above {MAX_ROWS}")
        return nothing
    unchanged = pc.is_in(_keys(new), value_set=_keys(old))
    if not pc.any(unchanged).as_py():
        return nothing
    start = 0
    with pq.ParquetWriter(staging / _UNCHANGED_NAME, pa.schema([("unchanged", pa.bool_())])) as writer:
        for part in range(new.num_row_groups):
            num_rows = new.metadata.row_group(part).num_rows
            writer.write_table(pa.table({"unchanged": unchanged.slice(start, num_rows)}), row_group_size=num_rows)
            start += num_rows
    return _write_index(spark, directory, manifest, staging)


def _keys(listing: pq.ParquetFile) -> pa.Array:
    names = [name for name in _KEYS if name in listing.schema_arrow.names]
    table = listing.read(columns=names).combine_chunks()
    return pa.concat_arrays(
        pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in names), "\0").chunks
    )


def _write_index(spark: SparkSession, directory: Path, manifest: Manifest, staging: Path) -> OldPictures:
    """Tasks index the old files; the driver sorts what they have found. A picture is compared when it is taken over."""
    entries = [entry for split in manifest.splits.values() for entry in split.files]
    row_bytes = manifest.sample.features["image"].num_bytes
    pieces = [f"old/part-{number:05d}.parquet" for number in range(len(entries))]

    def task(number: int) -> None:
        write_file(staging, pieces[number], _INDEX, [_index_file(directory, entries[number], number, row_bytes)])

    num_tasks = min(len(entries), spark.sparkContext.defaultParallelism)
    run_tasks(spark, "preprocess: look at the old pictures", len(entries), task, num_tasks=num_tasks)
    index = pa.concat_tables([open_unlisted(staging / piece).read() for piece in pieces]).sort_by("key")
    with pa.OSFile(str(staging / _INDEX_NAME), "wb") as sink, pa.ipc.new_file(sink, _INDEX) as writer:
        writer.write_table(index.cast(_INDEX).combine_chunks())
    return OldPictures([directory / entry.path for entry in entries])


def _index_file(directory: Path, entry: FileEntry, number: int, row_bytes: int) -> pa.Table:
    """The rows of one old file; none where it is damaged, so that its pictures are decoded again."""
    try:
        with open_source(directory, entry) as source:
            file = open_file(directory, entry)
            starts = find_values(str(directory / entry.path), source, file.metadata, "image", row_bytes)
        rows = file.read(columns=["id", "content_hash"])
        originals = read_originals(directory, entry)
    except (DataError, OSError, pa.ArrowException):
        return _INDEX.empty_table()
    if starts is None or len(originals) != len(starts):
        return _INDEX.empty_table()
    columns = {"key": hash_ids(rows["id"]), **{name: rows[name] for name in ("id", "content_hash")}}
    columns |= {"file": np.full(len(starts), number, np.int32), "start": starts, "original": originals}
    return pa.table(columns, schema=_INDEX)


class Shelf:
    """What can be taken over into one part."""

    def __init__(self, old: OldPictures, rules: Image, part: Part) -> None:
        self.num_found = 0
        self._files = old.files
        self._shape = (rules.height, rules.width, rules.channels)
        self._unchanged = np.zeros(0, bool)
        """By a record's position in the part."""
        if not old.files:
            return
        rows = read_listed(part.staging, part.number)
        unchanged = open_unlisted(part.staging / _UNCHANGED_NAME).read_row_group(part.number)["unchanged"].to_numpy()
        # A row of a table's listing stands for many records.
        lengths = rows["stop"].to_numpy() - rows["start"].to_numpy() if "start" in rows.schema.names else 1
        self._unchanged = np.repeat(unchanged, lengths)
        with pa.memory_map(str(part.staging / _INDEX_NAME)) as source:
            self._index = pa.ipc.open_file(source).read_all().combine_chunks()

    def find(self, first: int, ids: list[str]) -> list[DecodedPicture | None]:
        """The pictures of some records; None for those that have to be decoded.

        Args:
            first: position of the first record in the part.
            ids: of the records.
        """
        found: list[DecodedPicture | None] = [None] * len(ids)
        unchanged = np.flatnonzero(self._unchanged[first : first + len(ids)])
        if not len(unchanged) or not self._index.num_rows:
            return found
        keys = hash_ids([ids[position] for position in unchanged])
        rows = np.minimum(np.searchsorted(self._index["key"].to_numpy(), keys), self._index.num_rows - 1)
        taken = self._index.take(pa.array(rows)).append_column("position", pa.array(unchanged))
        taken = taken.sort_by([("file", "ascending"), ("start", "ascending")])
        for number, of_file in groupby(taken.to_pylist(), key=itemgetter("file")):
            for row, pixels in self._read(self._files[number], list(of_file)):
                if row["id"] == ids[row["position"]]:
                    found[row["position"]] = DecodedPicture(pixels, row["original"])
        self.num_found += sum(picture is not None for picture in found)
        return found

    def _read(self, path: Path, rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Rows of the index and their pixels, as long as these are what they were when the data set was written."""
        with suppress(OSError), path.open("rb", buffering=0) as source:
            for row in rows:
                stored = os.pread(source.fileno(), math.prod(self._shape), row["start"])
                if len(stored) == math.prod(self._shape):
                    pixels = np.frombuffer(stored, np.uint8).reshape(self._shape)
                    if content_hash(pixel_digest(pixels)) == row["content_hash"]:
                        yield row, pixels
