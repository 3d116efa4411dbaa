"""What one task of preprocess does with its part of the records; Arrow and Pillow only, no Spark.

A part is a row group of the listing. Everything that is written here is a function of the part's number and the
files, so that a task can run again, or twice at once.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farandole.config import Config
from farandole.core import image
from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.manifest import FileEntry
from farandole.core.parquet import write_file
from farandole.core.quality import RejectedError
from farandole.core.schema import CLEAN, DEDUPLICATED, QUARANTINE, SPLITS
from farandole.core.split import UNSPLIT, assign_splits
from farandole.spark.ingest import open_source

MAX_ROWS_PER_ROW_GROUP, MAX_ROW_GROUP_BYTES = 256, 32 * 1024 * 1024
"""Bounds of a row group; a task holds one of them decoded in memory."""
MAX_DETAIL_CHARACTERS = 300
"""A decoder's message may quote the file."""

STAGED = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.int32(), nullable=False),  # index into SPLITS, or UNSPLIT
        pa.field("label", pa.int32(), nullable=False),
        pa.field("digest", pa.binary(), nullable=False),  # 16 bytes of BLAKE2b over shape and pixels
        pa.field("image", pa.binary(), nullable=False),  # encoded
        pa.field("sums", pa.list_(pa.int64()), nullable=False),  # of the pixels, one per channel
        pa.field("squares", pa.list_(pa.int64()), nullable=False),  # of their squares
    ]
)
"""Columns of staging/parts/part-*.parquet: decoded, not yet compared with other parts."""

DROPPED = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("kept_image_id", pa.string()),
        pa.field("labels", pa.list_(pa.int32())),  # distinct and ascending; more than one is a conflict
    ]
)
"""Columns of staging/dropped/part=N/*.parquet, which Spark writes."""

_EARLY_DETAIL = {
    "unsafe_path": "a symbolic link, or a name that is no UTF-8",
    "missing_label": "not in a class folder",
    "unreadable": "not a regular file",
}


@dataclass(frozen=True)
class SplitCounts:
    """What one part adds to one split."""

    file: FileEntry
    class_counts: list[int]
    id_checksum: int
    sums: list[int]
    """Of the pixels, one per channel."""
    squares: list[int]
    """Of the pixels' squares."""


@dataclass(frozen=True)
class PartCounts:
    """What a task reports to the driver: counts, never rows."""

    splits: dict[str, SplitCounts]
    """Splits without rows of this part are absent."""
    quarantine: dict[str, int]
    num_deduplicated: int


def rows_per_row_group(config: Config) -> int:
    """How many pictures are decoded at once, and stored together."""
    num_bytes = config.image.height * config.image.width * config.image.channels
    return max(1, min(MAX_ROWS_PER_ROW_GROUP, MAX_ROW_GROUP_BYTES // num_bytes))


# Decoding: part N of the listing -> staging/parts/part-N, staging/rejected/part-N


def stage_part(config: Config, class_names: list[str], staging: Path, part: int) -> None:
    """Decodes row group `part` of staging/listing.parquet into staging/parts and, with reasons, staging/rejected."""
    records = pq.ParquetFile(staging / "listing.parquet").read_row_group(part)
    rejected: list[dict[str, str]] = []
    # Both files are written even when they are empty: a retried task then leaves nothing of its first try.
    tables = _decoded(config, class_names, records, part, rejected)
    write_file(staging, f"parts/part-{part:05d}.parquet", STAGED, tables)
    write_file(
        staging, f"rejected/part-{part:05d}.parquet", QUARANTINE, [pa.Table.from_pylist(rejected, schema=QUARANTINE)]
    )


def _decoded(
    config: Config, class_names: list[str], records: pa.Table, part: int, rejected: list[dict[str, str]]
) -> Iterator[pa.Table]:
    """Staged rows, a row group at a time; what cannot be decoded is appended to `rejected`."""
    load = open_source(config)
    labels = {name: label for label, name in enumerate(class_names)}
    for batch in records.to_batches(max_chunksize=rows_per_row_group(config)):
        kept, pictures = [], []
        for record in batch.to_pylist():
            try:
                pictures.append(_pixels(config, record, load))
                kept.append(record)
            except RejectedError as error:
                rejected.append(_rejection(record, error))
        if kept:
            yield _staged_table(config, kept, labels, pictures, part)


def _pixels(config: Config, record: dict[str, Any], load: Callable[[str], bytes | np.ndarray]) -> np.ndarray:
    if record["reason"] is not None:
        raise RejectedError(record["reason"], _EARLY_DETAIL[record["reason"]])
    loaded = load(record["source"])
    return image.decode(loaded, config.image) if isinstance(loaded, bytes) else image.from_array(loaded, config.image)


def _rejection(record: dict[str, Any], error: RejectedError) -> dict[str, str]:
    detail = error.detail.encode("utf-8", "backslashreplace").decode()[:MAX_DETAIL_CHARACTERS]
    return {"image_id": record["image_id"], "source": record["source"], "reason": error.reason, "detail": detail}


def _staged_table(
    config: Config, records: list[dict[str, Any]], labels: dict[str, int], pictures: list[np.ndarray], part: int
) -> pa.Table:
    # [n, channels, pixels]: sums over a contiguous axis are several times faster.
    planes = np.ascontiguousarray(np.stack(pictures).reshape(len(pictures), -1, config.image.channels).swapaxes(1, 2))
    columns = {
        "part": np.full(len(records), part, np.int32),
        "image_id": [record["image_id"] for record in records],
        "source": [record["source"] for record in records],
        "split": [UNSPLIT if record["split"] is None else SPLITS.index(record["split"]) for record in records],
        "label": [labels[record["class_name"]] for record in records],
        "digest": [_digest(pixels) for pixels in pictures],
        "image": [image.encode(pixels, config.image) for pixels in pictures],
        "sums": list(planes.sum(axis=2, dtype=np.int64)),
        "squares": list(np.square(planes, dtype=np.uint16).sum(axis=2, dtype=np.int64)),  # 255**2 fits 16 bits
    }
    return pa.table(columns, schema=STAGED)


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


# Writing: staging/*/part-N -> data/split=*/part-N, quarantine/part-N, deduplicated/part-N


def write_part(config: Config, class_names: list[str], given: frozenset[str], directory: Path, part: int) -> PartCounts:
    """Writes what is kept of a staged part into its splits, and the rest into quarantine and deduplicated.

    Args:
        config: the stage's.
        class_names: a label is an index into them.
        given: the splits that the input has.
        directory: the data set; directory/staging holds what `stage_part` and `find_dropped` left.
        part: its number.
    """
    staging, name = directory / "staging", f"part-{part:05d}.parquet"
    dropped = _read_dropped(staging / "dropped" / f"part={part}")
    is_conflict = pc.greater(pc.list_value_length(dropped["labels"]), 1)
    conflicts = _conflicts(dropped.filter(is_conflict), class_names)
    quarantine = pa.concat_tables([pq.read_table(staging / "rejected" / name).cast(QUARANTINE), conflicts])
    deduplicated = dropped.filter(pc.invert(is_conflict)).select(DEDUPLICATED.names)
    for folder, schema, table in (("quarantine", QUARANTINE, quarantine), ("deduplicated", DEDUPLICATED, deduplicated)):
        if table.num_rows:
            write_file(directory, f"{folder}/{name}", schema, [table.sort_by("image_id")])
    file = pq.ParquetFile(staging / "parts" / name)
    return PartCounts(
        splits=_write_splits(config, class_names, given, directory, name, file, dropped["image_id"]),
        quarantine=Counter(quarantine["reason"].to_pylist()),
        num_deduplicated=deduplicated.num_rows,
    )


def _read_dropped(directory: Path) -> pa.Table:
    if not directory.exists():  # Spark writes a folder only for parts that have such rows
        return DROPPED.empty_table()
    return pq.read_table(directory, partitioning=None).cast(DROPPED)


def _conflicts(dropped: pa.Table, class_names: list[str]) -> pa.Table:
    rows = [
        {
            "image_id": row["image_id"],
            "source": row["source"],
            "reason": "conflicting_label",
            "detail": f"the same picture is labelled {', '.join(repr(class_names[label]) for label in row['labels'])}",
        }
        for row in dropped.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def _write_splits(
    config: Config,
    class_names: list[str],
    given: frozenset[str],
    directory: Path,
    name: str,
    file: pq.ParquetFile,
    dropped_ids: pa.ChunkedArray,
) -> dict[str, SplitCounts]:
    rows = file.read(columns=["image_id", "split", "label", "digest", "sums", "squares"])
    hashes = np.frombuffer(b"".join(rows["digest"].to_pylist()), "<i8")[::2].copy()  # the first 8 bytes of 16
    splits = assign_splits(
        hashes, rows["split"].to_numpy(), config.split, has_val="val" in given, has_test="test" in given
    )
    kept = ~pc.is_in(rows["image_id"], value_set=dropped_ids.combine_chunks()).to_numpy()
    counts = {}
    for index, split in enumerate(SPLITS):
        mask = kept & (splits == index)
        if mask.any():
            tables = _selected(file, mask, hashes)
            entry = write_file(directory, f"data/split={split}/{name}", CLEAN, tables)
            counts[split] = _count(rows.filter(pa.array(mask)), entry, len(class_names), config.image.channels)
    return counts


def _selected(file: pq.ParquetFile, mask: np.ndarray, hashes: np.ndarray) -> Iterator[pa.Table]:
    """The rows of `mask` as tables of schema CLEAN, reading only row groups that have any."""
    start = 0
    for index in range(file.num_row_groups):
        rows = slice(start, start + file.metadata.row_group(index).num_rows)
        if mask[rows].any():
            table = file.read_row_group(index, columns=["image_id", "image", "label"])
            table = table.append_column("content_hash", pa.array(hashes[rows]))
            yield table.filter(pa.array(mask[rows])).select(CLEAN.names)
        start = rows.stop


def _count(rows: pa.Table, entry: FileEntry, num_classes: int, num_channels: int) -> SplitCounts:
    sums, squares = (
        rows[column].combine_chunks().flatten().to_numpy().reshape(-1, num_channels).sum(axis=0).tolist()
        for column in ("sums", "squares")
    )
    return SplitCounts(
        file=entry,
        class_counts=np.bincount(rows["label"].to_numpy(), minlength=num_classes).tolist(),
        id_checksum=id_checksum(hash_ids(rows["image_id"]), 0),
        sums=sums,
        squares=squares,
    )
