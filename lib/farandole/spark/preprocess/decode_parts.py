"""The first tasks of preprocess: part N of the listing -> staging/parts, staging/images and staging/rejected.

A part is a row group of the listing. Everything that is written here is a function of the part's number and the
files, but for the names of image files, so that a task can run again, or twice at once. Arrow and Pillow only, no
Spark.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from farandole.config.data import Image, Missing, Split
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import QUARANTINE, SIDE_TYPES, SPLITS
from farandole.core.fingerprint import original_hash, pixel_digest
from farandole.core.plan.layout import rows_within
from farandole.core.plan.split import UNSPLIT
from farandole.core.record import image
from farandole.core.record.missing import order_type
from farandole.core.record.pixel_scale import ASSUMED, PixelScale, Seen
from farandole.core.record.quality import RejectedError
from farandole.spark.preprocess.reuse import DecodedPicture, OldPictures, Shelf
from farandole.spark.preprocess.split_groups import split_keys
from farandole.spark.preprocess.staged_images import FIELDS, ImageFile
from farandole.spark.source.records import Part, Records, Source, read_records
from farandole.spark.source.table.rows import GROUP, ORDER, SIDE

MAX_ROWS_PER_ROW_GROUP, MAX_DECODED_BYTES = 256, 32 * 1024 * 1024
"""Bounds of a row group; a task holds one of them decoded in memory."""
MAX_DETAIL_CHARACTERS = 300
"""A decoder's message may quote the file."""

STAGED = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.int32(), nullable=False),  # index into SPLITS, or UNSPLIT
        pa.field("label", pa.int32(), nullable=False),
        pa.field("digest", pa.binary(), nullable=False),  # of shape and pixels
        pa.field("original", pa.int64(), nullable=False),  # hash of the picture as the source holds it
        pa.field("split_key", pa.int64(), nullable=False),  # by which its split is drawn: that, or one of its group
        pa.field("sums", pa.list_(pa.int64()), nullable=False),  # of the pixels, one per channel
        pa.field("squares", pa.list_(pa.int64()), nullable=False),  # of their squares
        *FIELDS,
    ]
)
"""Columns of staging/parts/part-*.parquet: decoded, not yet compared with other parts."""


@dataclass(frozen=True)
class Decode:
    """How pictures become pixels."""

    rules: Image
    scale: PixelScale
    seen: Seen
    """Where those are counted that depend on the scale."""


@dataclass(frozen=True)
class Staged:
    """What a task reports to the driver."""

    num_reused: int
    """Pictures that were taken over from the old data set."""
    splits: frozenset[str]
    """That records which can be used were given."""
    seen: Seen
    """Pictures that depend on which number is white."""


def rows_per_row_group(rules: Image) -> int:
    """How many pictures are decoded at once, and stored together."""
    if rules.encoding == "raw":
        return rows_within(MAX_ROWS_PER_ROW_GROUP, rules.num_bytes)
    return max(1, min(MAX_ROWS_PER_ROW_GROUP, MAX_DECODED_BYTES // rules.num_bytes))


def stage_part(
    part: Part, missing: Missing, split: Split, rules: Image, old: OldPictures, scale: PixelScale = ASSUMED
) -> Staged:
    """Decodes the records of a part into staging/parts, staging/images and, with reasons, staging/rejected."""
    rejected: list[dict[str, str]] = []
    splits: set[str] = set()
    decode = Decode(rules, scale, Seen())
    # Both tables are written even when they are empty: a retried task then leaves nothing of its first try.
    shelf = Shelf(old, rules, part)
    with ImageFile(part.staging) as images:
        tables = _decoded(part, split, decode, shelf, images, rejected, splits)
        write_file(part.staging, part.path("parts"), staged_schema(missing, part.source), tables)
    table = pa.Table.from_pylist(rejected, schema=QUARANTINE)
    write_file(part.staging, part.path("rejected"), QUARANTINE, [table])
    return Staged(shelf.num_found, frozenset(splits), decode.seen)


def staged_schema(missing: Missing, source: Source) -> pa.Schema:
    """STAGED, then what a table brings: kept columns, and what interpolation goes along and stays inside."""
    fields = [pa.field(f"{SIDE}{name}", SIDE_TYPES[kind]) for name, kind in source.side_columns.items()]
    for name, rule in missing.columns.items():
        if rule.policy == "interpolate":
            fields += [
                pa.field(f"{ORDER}{name}", order_type(source.order_kinds[name])),
                pa.field(f"{GROUP}{name}", pa.string()),
            ]
    return pa.schema([*STAGED, *fields])


def _decoded(
    part: Part,
    split: Split,
    decode: Decode,
    shelf: Shelf,
    images: ImageFile,
    rejected: list[dict[str, str]],
    splits: set[str],
) -> Iterator[pa.Table]:
    """Staged rows, a row group at a time. Their images are written, and the splits that they were given are added to
    `splits`; what cannot be decoded goes to `rejected`."""
    labels = {name: label for label, name in enumerate(part.source.class_names)}
    first = 0
    for records in read_records(part, rows_per_row_group(decode.rules)):
        kept, pictures = [], []
        old = shelf.find(first, [record["id"] for record in records.rows])
        for index, record in enumerate(records.rows):
            try:
                pictures.append(_decode(decode, records, index, old[index]))
                kept.append(index)
            except RejectedError as error:
                rejected.append(_rejection(record, error))
        first += len(records.rows)
        if kept:
            places = images.append([image.encode(picture.pixels, decode.rules) for picture in pictures])
            side = records.side.take(pa.array(kept))
            originals = np.array([picture.original for picture in pictures], np.int64)
            hashes = {"original": originals, "split_key": split_keys(split, originals, side)}
            pixels = np.stack([picture.pixels for picture in pictures])
            rows = [records.rows[index] for index in kept]
            staged = _staged_table(part.number, rows, labels, pixels, hashes | places)
            splits.update(row["split"] for row in rows if row["split"])
            for name in side.schema.names:
                staged = staged.append_column(name, side[name])
            yield staged


def _decode(decode: Decode, records: Records, index: int, old: DecodedPicture | None) -> DecodedPicture:
    """The picture of the record at `index`, unless it is known from the old data set."""
    record = records.rows[index]
    if record["reason"] is not None:
        raise RejectedError(record["reason"], record["detail"])
    if old is not None:
        return old
    loaded = records.load(index)
    if isinstance(loaded, bytes):
        pixels = image.decode(loaded, decode.rules, decode.scale, decode.seen)
    else:
        pixels = image.from_array(loaded, decode.rules, decode.scale, decode.seen)
    return DecodedPicture(pixels, original_hash(loaded))


def _rejection(record: dict[str, Any], error: RejectedError) -> dict[str, str]:
    detail = error.detail.encode("utf-8", "backslashreplace").decode()[:MAX_DETAIL_CHARACTERS]
    return {"id": record["id"], "source": record["source"], "reason": error.reason, "detail": detail}


def _staged_table(
    part: int,
    records: list[dict[str, Any]],
    labels: dict[str, int],
    pixels: np.ndarray,
    others: dict[str, np.ndarray],
) -> pa.Table:
    # [n, channels, pixels]: sums over a contiguous axis are several times faster.
    planes = np.ascontiguousarray(pixels.reshape(len(pixels), -1, pixels.shape[-1]).swapaxes(1, 2))
    columns = {
        "part": np.full(len(records), part, np.int32),
        "id": [record["id"] for record in records],
        "source": [record["source"] for record in records],
        "split": [UNSPLIT if record["split"] is None else SPLITS.index(record["split"]) for record in records],
        "label": [labels[record["class_name"]] for record in records],
        "digest": [pixel_digest(picture) for picture in pixels],
        "sums": list(planes.sum(axis=2, dtype=np.int64)),
        "squares": list(np.square(planes, dtype=np.uint16).sum(axis=2, dtype=np.int64)),  # 255**2 fits 16 bits
        **others,
    }
    return pa.table(columns, schema=STAGED)
