"""One way to read any source: what is known of it as a whole, and its records, some at a time.

A listing becomes staging/listing.parquet, whose row group N is part N: what one task works on.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from farandole.config.data import Data, Image, Missing
from farandole.core.dataset.parquet import open_unlisted
from farandole.core.record.pixel_scale import ASSUMED, PixelScale, given_scale
from farandole.spark.source.digits import digit_loader, list_digits
from farandole.spark.source.folder import file_loader, list_folder
from farandole.spark.source.label_table import list_labelled
from farandole.spark.source.listing import (
    LISTING,
    Survey,
    listing_fingerprint,
    read_listed,
    write_listing,
)
from farandole.spark.source.table.column_types import sort_classes
from farandole.spark.source.table.files import list_table, pieces_fingerprint
from farandole.spark.source.table.images import image_loader
from farandole.spark.source.table.rows import read_pieces
from farandole.spark.source.table.scan import survey_table
from farandole.spark.source.table.values import warn_of_words_for_none

RECORDS_PER_PART = 2048
"""Listed files of one task."""
RECORDS_PER_FILE = 2048
"""Of clean/, before anything is rejected, of all splits together."""
_RECORD_COLUMNS = ["id", "source", "split", "class_name", "reason", "detail"]


@dataclass(frozen=True)
class Records:
    """Some records."""

    rows: list[dict[str, Any]]
    """Each with id, source, split, class_name, and reason and detail, which are None unless it is rejected."""
    load: Callable[[int], bytes | np.ndarray]
    """The image of a record by its position; raises RejectedError."""
    side: pa.Table
    """Further columns, one row per record."""


@dataclass(frozen=True)
class Source:
    """What is known of the whole input before an image is decoded, and how its records are read."""

    class_names: list[str]
    given: frozenset[str]
    """The splits that the input names."""
    num_parts: int
    input_rows: int
    num_files: int
    """That a split of clean/ has at most: it follows from input_rows, not from the files that the records come in."""
    side_columns: dict[str, str]
    """Kept columns: name -> a key of SIDE_TYPES."""
    read: Callable[[pa.Table, int], Iterator[Records]]
    """The records of some rows of the listing, so many at a time."""
    order_kinds: dict[str, str] = field(default_factory=dict)
    """The types of the columns that kept ones are interpolated along."""
    scale: PixelScale = ASSUMED
    """Which number is white, until all pictures are known."""


@dataclass(frozen=True)
class Part:
    """What one task of preprocess works on: row group `number` of the listing, and what is staged of its records."""

    staging: Path
    number: int
    source: Source

    def path(self, folder: str) -> str:
        """Of the part's file in a folder of staging; relative to it."""
        return f"{folder}/part-{self.number:05d}.parquet"

    def read(self, folder: str, columns: list[str] | None = None) -> pa.Table:
        """The part's file in a folder of staging."""
        return open_unlisted(self.staging / self.path(folder)).read(columns=columns)


def list_source(data: Data, missing: Missing) -> pa.Table:
    """Lists the source without reading an image: by LISTING, or for data.source = "table" by PIECES.

    Raises:
        ConfigError, DataError: as folder.list_folder, label_table.list_labelled and table.files.list_table.
    """
    return _kind_of(data).list_records(data, missing)


def source_fingerprint(data: Data, listing: pa.Table) -> str:
    """SHA-256, as 64 hex digits, of what a listing says of its files."""
    return _kind_of(data).fingerprint(listing)


def prepare(
    spark: SparkSession, data: Data, missing: Missing, image: Image, listing: pa.Table, staging: Path
) -> Source:
    """Writes staging/listing.parquet; of a table, also reads its labels, splits and ids once.

    Raises:
        ConfigError: missing.label is none of the classes.
        DataError: two rows of a table have one id, an id is null, or a split is none.
    """
    kind, kinds = _kind_of(data), json.loads((listing.schema.metadata or {}).get(b"columns", b"{}"))
    part_sizes = kind.part_sizes(listing)
    write_listing(staging, listing, part_sizes)
    survey = kind.survey(spark, data, missing, listing, staging)
    if kinds:  # labels come from a column
        warn_of_words_for_none(survey.class_names)
    return Source(
        class_names=sort_classes(survey.class_names, kinds.get(data.label_column, "string")),
        given=frozenset(survey.splits),
        num_parts=len(part_sizes),
        input_rows=survey.num_records,
        num_files=math.ceil(survey.num_records / RECORDS_PER_FILE),
        side_columns={name: kinds[name] for name in data.keep_columns},
        read=functools.partial(kind.read, data, missing, image),
        order_kinds={name: kinds[rule.order_by] for name, rule in missing.columns.items() if rule.order_by in kinds},
        scale=given_scale(data.pixel_scale),
    )


def read_records(part: Part, num_rows: int) -> Iterator[Records]:
    """The records of a part, `num_rows` at a time.

    Raises:
        DataError: a file of a table is gone, changed or damaged; names it.
    """
    return part.source.read(read_listed(part.staging, part.number), num_rows)


def _read_digits(data: Data, missing: Missing, image: Image, listed: pa.Table, num_rows: int) -> Iterator[Records]:
    return _read_one_by_one(digit_loader(), listed, num_rows)


def _read_files(data: Data, missing: Missing, image: Image, listed: pa.Table, num_rows: int) -> Iterator[Records]:
    return _read_one_by_one(file_loader(data, image), listed, num_rows)


def _read_one_by_one(load: Callable[[str], bytes | np.ndarray], listed: pa.Table, num_rows: int) -> Iterator[Records]:
    for start in range(0, listed.num_rows, num_rows):
        table = listed.slice(start, num_rows)
        rows = table.select(LISTING.names).to_pylist()
        yield Records(rows, functools.partial(_load_row, load, rows), table.drop_columns(LISTING.names))


def _load_row(load: Callable[[str], bytes | np.ndarray], rows: list[dict[str, Any]], index: int) -> bytes | np.ndarray:
    return load(rows[index]["source"])


def _read_table(data: Data, missing: Missing, image: Image, listed: pa.Table, num_rows: int) -> Iterator[Records]:
    for table in read_pieces(data, missing, listed, num_rows):
        rows, load = table.select(_RECORD_COLUMNS).to_pylist(), image_loader(data, missing, table["image"])
        yield Records(rows, load, table.drop_columns([*_RECORD_COLUMNS, "image"]))


def _even_parts(listing: pa.Table) -> list[int]:
    return [min(RECORDS_PER_PART, listing.num_rows - at) for at in range(0, listing.num_rows, RECORDS_PER_PART)]


def _planned_parts(pieces: pa.Table) -> list[int]:
    return np.unique(pieces["part"].to_numpy(), return_counts=True)[1].tolist()


@dataclass(frozen=True)
class _Kind:
    """What sources differ in."""

    list_records: Callable[[Data, Missing], pa.Table]
    """The listing."""
    fingerprint: Callable[[pa.Table], str]
    """Of the listing."""
    part_sizes: Callable[[pa.Table], list[int]]
    """Its rows in each part."""
    survey: Callable[[SparkSession, Data, Missing, pa.Table, Path], Survey]
    read: Callable[[Data, Missing, Image, pa.Table, int], Iterator[Records]]
    """As `Source.read`."""


def _survey_listing(spark: SparkSession, data: Data, missing: Missing, listing: pa.Table, staging: Path) -> Survey:
    names, splits = (set(listing[column].drop_null().to_pylist()) for column in ("class_name", "split"))
    return Survey(names, splits, listing.num_rows)


SOURCES = {
    "digits": _Kind(lambda *_: list_digits(), listing_fingerprint, _even_parts, _survey_listing, _read_digits),
    "folder": _Kind(lambda data, _: list_folder(data), listing_fingerprint, _even_parts, _survey_listing, _read_files),
    "label_table": _Kind(list_labelled, listing_fingerprint, _even_parts, _survey_listing, _read_files),
    "table": _Kind(list_table, pieces_fingerprint, _planned_parts, survey_table, _read_table),
}
"""By data.source; a folder with a data.label_table is a source of its own."""


def _kind_of(data: Data) -> _Kind:
    return SOURCES["label_table" if data.label_table else data.source]
