"""One way to read any source: what is known of it as a whole, and its records, a batch at a time.

A listing becomes staging/listing.parquet, whose row group N is part N: what one task works on.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.dataset.parquet import write_file
from farandole.core.fingerprint import hash_ids
from farandole.spark.source.folder import LISTING, list_records, listing_fingerprint, open_source
from farandole.spark.source.label_table import list_labelled
from farandole.spark.source.table_columns import check_fill, refuse_repeated_ids, sort_classes
from farandole.spark.source.table_files import list_table, pieces_fingerprint
from farandole.spark.source.table_rows import image_loader, read_rows
from farandole.spark.tasks import run_tasks

LISTING_NAME = "listing.parquet"
"""In staging/ and then in clean/: the listing that a data set was made of. Its row group N is part N."""
RECORDS_PER_PART = 2048
"""Listed files of one task."""
RECORDS_PER_FILE = 2048
"""Of clean/, before anything is rejected, of all splits together."""
IDS_PER_TASK = 4_000_000
"""Compared at once, in some hundreds of MB."""
_ROWS_PER_SCAN = 65_536


@dataclass(frozen=True)
class Source:
    """What is known of the whole input before an image is decoded."""

    class_names: list[str]
    given: frozenset[str]
    """The splits that the input names."""
    num_parts: int
    input_rows: int
    num_files: int
    """That a split of clean/ has at most: it follows from input_rows, not from the files that the records come in."""
    side_columns: dict[str, str]
    """Kept columns: name -> a key of SIDE_TYPES."""


@dataclass(frozen=True)
class Batch:
    """Some records."""

    records: list[dict[str, Any]]
    """Each with image_id, source, split, class_name, and reason and detail, which are None unless it is rejected."""
    load: Callable[[int], bytes | np.ndarray]
    """The image of a record by its position; raises RejectedError."""
    side: pa.Table
    """Further columns, one row per record."""


def list_source(config: Config) -> pa.Table:
    """Lists the source without reading an image: by LISTING, or for data.source = "table" by PIECES.

    Raises:
        ConfigError, DataError: as ingest.list_records, label_table.list_labelled and table_files.list_table.
    """
    if config.data.source == "table":
        return list_table(config)
    return list_labelled(config) if config.data.label_table else list_records(config)


def source_fingerprint(config: Config, listing: pa.Table) -> str:
    """SHA-256, as 64 hex digits, of what a listing says of its files."""
    return pieces_fingerprint(listing) if config.data.source == "table" else listing_fingerprint(listing)


def prepare(spark: SparkSession, config: Config, listing: pa.Table, staging: Path) -> Source:
    """Writes staging/listing.parquet; of a table, also reads its labels, splits and ids once.

    Raises:
        ConfigError: missing.label is none of the classes.
        DataError: two rows of a table have one id, an id is null, or a split is none.
    """
    path = staging / LISTING_NAME
    kinds = json.loads((listing.schema.metadata or {}).get(b"columns", b"{}"))
    side_columns = {name: kinds[name] for name in config.data.keep_columns}
    label_kind = kinds.get(config.data.label_column, "string")
    if config.data.source != "table":
        pq.write_table(listing, path, row_group_size=RECORDS_PER_PART)
        return Source(
            class_names=sort_classes(set(listing["class_name"].drop_null().to_pylist()), label_kind),
            given=frozenset(listing["split"].drop_null().to_pylist()),
            num_parts=math.ceil(listing.num_rows / RECORDS_PER_PART),
            input_rows=listing.num_rows,
            num_files=math.ceil(listing.num_rows / RECORDS_PER_FILE),
            side_columns=side_columns,
        )
    parts, counts = np.unique(listing["part"].to_numpy(), return_counts=True)
    with pq.ParquetWriter(path, listing.schema) as writer:
        for start, count in zip(np.cumsum(counts) - counts, counts, strict=True):
            writer.write_table(listing.slice(start, count), row_group_size=int(count))
    scanned = run_tasks(
        spark,
        "preprocess: read labels",
        len(parts),
        lambda part: _scan_part(config, staging, part),
        failure_mark=staging / "failed",
    )
    names = set().union(*(names for names, _ in scanned))
    check_fill(config, names)
    input_rows = int(pc.sum(pc.subtract(listing["stop"], listing["start"])).as_py())
    if config.data.id_column:
        _check_ids(spark, config, staging, input_rows)
    return Source(
        class_names=sort_classes(names, label_kind),
        given=frozenset(set().union(*(splits for _, splits in scanned))),
        num_parts=len(parts),
        input_rows=input_rows,
        num_files=math.ceil(input_rows / RECORDS_PER_FILE),
        side_columns=side_columns,
    )


def read_batches(config: Config, staging: Path, part: int, num_rows: int) -> Iterator[Batch]:
    """The records of row group `part` of staging/listing.parquet, `num_rows` at a time.

    Raises:
        DataError: a file of a table is gone, changed or damaged; names it.
    """
    listed = pq.ParquetFile(staging / LISTING_NAME).read_row_group(part)
    if config.data.source == "table":
        for table in read_rows(config, listed, num_rows):
            columns = ["image_id", "source", "split", "class_name", "reason", "detail"]
            side = table.drop_columns([*columns, "image"])
            yield Batch(table.select(columns).to_pylist(), image_loader(config, table["image"]), side)
        return
    read = open_source(config)
    for start in range(0, listed.num_rows, num_rows):
        table = listed.slice(start, num_rows)
        records = table.select(LISTING.names).to_pylist()
        sources = [record["source"] for record in records]
        yield Batch(records, functools.partial(_load_file, read, sources), table.drop_columns(LISTING.names))


def _load_file(read: Callable[[str], bytes | np.ndarray], sources: list[str], index: int) -> bytes | np.ndarray:
    return read(sources[index])


def _scan_part(config: Config, staging: Path, part: int) -> tuple[set[str], set[str]]:
    """The classes and the splits of a part; its ids go to staging/ids."""
    missing = config.missing.model_copy(update={"label": "drop"})  # a class that is only filled in is none
    listed = pq.ParquetFile(staging / LISTING_NAME).read_row_group(part)
    rows = read_rows(config.model_copy(update={"missing": missing}), listed, _ROWS_PER_SCAN, with_images=False)
    names: set[str] = set()
    splits: set[str] = set()
    tables = []
    for table in rows:
        names.update(pc.unique(table["class_name"].filter(table["reason"].is_null())).to_pylist())
        splits.update(pc.unique(table["split"].drop_null()).to_pylist())
        if config.data.id_column:
            ids = table.select(["image_id"])
            tables.append(ids.append_column("hash", pa.array(hash_ids(ids["image_id"]))))
    if config.data.id_column:
        write_file(staging, f"ids/part-{part:05d}.parquet", tables[0].schema, tables)
    return names, splits


def _check_ids(spark: SparkSession, config: Config, staging: Path, num_rows: int) -> None:
    """Tasks share the ids out by their hash, as duplicates.py does the digests."""
    num_tasks = max(1, -(-num_rows // IDS_PER_TASK))
    found = run_tasks(spark, "preprocess: compare ids", num_tasks, lambda task: _repeated_ids(staging, task, num_tasks))
    if any(number for number, _ in found):
        refuse_repeated_ids(config, sum(number for number, _ in found), min(first for number, first in found if number))


def _repeated_ids(staging: Path, task: int, num_tasks: int) -> tuple[int, str]:
    """How many of a task's ids occur twice or more, and the smallest of them."""
    low, high = (number * 2**64 // num_tasks for number in (task, task + 1))
    mine = pc.field("hash") >= pa.scalar(low, pa.uint64())
    if high < 2**64:
        mine &= pc.field("hash") < pa.scalar(high, pa.uint64())
    ids = ds.dataset(staging / "ids", format="parquet").to_table(columns=["image_id"], filter=mine)
    counts = ids.group_by("image_id").aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))["image_id"]
    return len(twice), pc.min(twice).as_py() or ""
