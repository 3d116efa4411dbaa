"""Column names and Arrow schemas of everything on disk, and the closed list of quarantine reasons."""

import pyarrow as pa

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")

CLEAN = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # stable: the source path or id, never a position
        pa.field("image", pa.binary(), nullable=False),  # raw uint8 HWC, or JPEG: manifest.image.encoding says which
        pa.field("label", pa.int32(), nullable=False),  # index into manifest.class_names
        pa.field("content_hash", pa.int64(), nullable=False),  # first 8 bytes of BLAKE2b over the decoded pixels
    ]
)
"""Columns of clean/data/split=SPLIT/part-*.parquet."""

BALANCED = pa.schema(
    [
        *CLEAN,
        pa.field("copy", pa.int32(), nullable=False),  # 0 for the image itself, 1.. for its repeats
        pa.field("row", pa.int64(), nullable=False),  # position in the split: what a plan names rows by
    ]
)
"""Columns of balanced/data/split=SPLIT/part-*.parquet. (image_id, copy) is unique, and so is row."""

QUARANTINE = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # where the record came from: a path, or a name in a bundle
        pa.field("reason", pa.string(), nullable=False),  # one of REASONS
        pa.field("detail", pa.string(), nullable=False),  # what was found, for a person
    ]
)
"""Columns of clean/quarantine/part-*.parquet."""

DEDUPLICATED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kept_image_id", pa.string(), nullable=False),  # the record with the same pixels that was kept
    ]
)
"""Columns of clean/deduplicated/part-*.parquet."""

REASONS = (
    "missing_image",  # no bytes, or the file is gone or empty
    "missing_label",  # no label, for example a file outside any class folder
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
"""Why a record was rejected. Closed: a new reason is added here first."""
