"""What is known of records before an image is read: a table with one row per record."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.dataset.parquet import open_unlisted

LISTING_NAME = "listing.parquet"
"""In staging/ and then in clean/: the listing that a data set was made of. Its row group N is part N."""

LISTING = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # relative path with /, or digits/0000
        pa.field("source", pa.string(), nullable=False),  # by which the source loads it
        pa.field("split", pa.string()),  # train, val, test, or null: not split yet
        pa.field("class_name", pa.string()),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("modified_ns", pa.int64(), nullable=False),  # time of change; no part of the fingerprint
        pa.field("reason", pa.string()),  # why it is rejected already, else null
        pa.field("detail", pa.string()),  # what was found, for a person
    ]
)
"""Columns of a listing, one row per input record, sorted by id. A label table adds side columns."""


@dataclass(frozen=True)
class Survey:
    """What a source says of all its records together."""

    class_names: set[str]
    splits: set[str]
    """That it names."""
    num_records: int


def make_listing(rows: list[dict[str, Any]]) -> pa.Table:
    """A table of schema LISTING from rows of `list_row`."""
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=LISTING)


def list_row(
    record_id: str,
    *,
    source: str | None = None,
    split: str | None = None,
    class_name: str | None = None,
    status: os.stat_result | None = None,
    num_bytes: int = 0,
    rejection: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """One row of a listing; `rejection` is reason and detail."""
    reason, detail = rejection or (None, None)
    return {
        "id": record_id,
        "source": source or record_id,
        "split": split,
        "class_name": class_name,
        "num_bytes": status.st_size if status else num_bytes,
        "modified_ns": status.st_mtime_ns if status else 0,
        "reason": reason,
        "detail": detail,
    }


def write_listing(staging: Path, listing: pa.Table, part_sizes: list[int]) -> None:
    """Writes staging/listing.parquet, whose row group N is part N: so many rows of a listing."""
    start = 0
    with pq.ParquetWriter(staging / LISTING_NAME, listing.schema) as writer:
        for num_rows in part_sizes:
            writer.write_table(listing.slice(start, num_rows), row_group_size=num_rows)
            start += num_rows


def read_listed(staging: Path, part: int) -> pa.Table:
    """The rows of staging/listing.parquet that are of one part."""
    return open_unlisted(staging / LISTING_NAME).read_row_group(part)


def num_touched(directory: Path, listing: pa.Table) -> int:
    """How many rows of a listing have another time of change than in a version of clean/ of the same fingerprint; 0
    where that has lost its own."""
    try:
        old = open_unlisted(directory / LISTING_NAME).read(columns=["modified_ns"])["modified_ns"].to_numpy()
    except (OSError, pa.ArrowException):
        return 0
    new = listing["modified_ns"].to_numpy()
    return int((old != new).sum()) if len(old) == len(new) else 0


def listing_fingerprint(listing: pa.Table) -> str:
    """SHA-256, as 64 hex digits, of all columns of a listing but the times of change."""
    digest = hashlib.sha256(repr(listing.schema.metadata).encode())
    for field in listing.schema:
        if field.name != "modified_ns":
            texts = listing[field.name].cast(pa.string()).to_pylist()
            digest.update(json.dumps([field.name, texts]).encode())
    return digest.hexdigest()


def escape_name(name: str) -> str:
    """The name with bytes that are no UTF-8 escaped, since Arrow and JSON hold nothing else."""
    return name.encode("utf-8", "backslashreplace").decode()
