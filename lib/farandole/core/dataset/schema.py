"""Column names and Arrow schemas of everything on disk, and the closed list of quarantine reasons."""

from collections.abc import Mapping

import pyarrow as pa

SCHEMA_VERSION = 4
"""The version of manifests and files that this package writes, and the only one that it reads."""
SPLITS = ("train", "val", "test")
"""The three parts of every data set; elsewhere a split is named by its index here."""

SIDE_TYPES = {
    str(kind): kind
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.date32()),
        *(pa.timestamp("us"), pa.timestamp("us", tz="UTC")),
    )
}
"""Types that a side column may have, by the name under which a manifest lists them."""

CLEAN = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # stable: the source path or id, never a position
        pa.field("image", pa.binary(), nullable=False),  # as its Feature says
        pa.field("label", pa.int32(), nullable=False),  # index into Sample.class_names
        pa.field("content_hash", pa.int64(), nullable=False),  # first 8 bytes of BLAKE2b over the decoded pixels
    ]
)
"""Columns of clean/data/split=SPLIT/part-*.parquet, before the kept side columns."""

_PLACED = (
    pa.field("copy", pa.int32(), nullable=False),  # 0 for the image itself, 1.. for its repeats
    pa.field("row", pa.int64(), nullable=False),  # position in the split: what a plan names rows by
)
CLASS_NAME = pa.field("class_name", pa.string(), nullable=False)
"""The name of the row's label, as the last column of clean/data and balanced/data: for people, and for programs that
know no manifest. Ours never read it. A side column of this name stands in its place, and older files have none."""
BALANCED = pa.schema([*CLEAN, *_PLACED])
"""Columns of balanced/data/split=SPLIT/part-*.parquet where no side columns are kept; else these stand before `copy`.
(id, copy) is unique, and so is row."""

RESERVED_NAMES = frozenset([*BALANCED.names, "key", "split"])
"""What no side column can be called: `key` is what rebalance sorts by, `split` is a folder's name."""


def clean_schema(side_columns: Mapping[str, str]) -> pa.Schema:
    """Columns of clean/data with the side columns of a manifest: name -> a key of SIDE_TYPES."""
    return pa.schema([*CLEAN, *(pa.field(name, SIDE_TYPES[kind]) for name, kind in side_columns.items())])


def balanced_schema(side_columns: Mapping[str, str]) -> pa.Schema:
    """Columns of balanced/data with the side columns of a manifest: name -> a key of SIDE_TYPES."""
    return pa.schema([*clean_schema(side_columns), *_PLACED])


QUARANTINE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # where the record came from: a path, or a name in a bundle
        pa.field("reason", pa.string(), nullable=False),  # one of REASONS
        pa.field("detail", pa.string(), nullable=False),  # what was found, for a person
    ]
)
"""Columns of clean/quarantine/part-*.parquet."""

DEDUPLICATED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),  # the record with the same pixels that was kept
    ]
)
"""Columns of clean/deduplicated/part-*.parquet."""

REASONS = (
    "missing_image",  # no bytes, or the file is gone or empty
    "missing_label",  # no label, for example a file outside any class folder
    "missing_value",  # a side column that is null or NaN, where missing.columns says drop
    "unknown_label",  # a label that is not one of the classes
    "conflicting_label",  # the same pixels under two labels: neither can be trusted
    "unsafe_path",  # a symbolic link, or a name that leads out of the source
    "unreadable",  # the operating system refused to read it
    "not_an_image",  # no format that is allowed recognises the bytes
    "undecodable",  # the header is right, the pixels are not
    "truncated",  # the pixels end early
    "too_large",  # more bytes or pixels than image.max_file_bytes or image.max_pixels
    "too_small",  # a side below image.min_side_pixels
    "blank",  # one colour all over
    "wrong_channels",  # an array whose shape no rule converts
    "nan_pixels",  # NaN or Inf in a pixel array
)
"""All reasons for which a record can be rejected; a new one is added here first."""
