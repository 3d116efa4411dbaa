"""The second half of a task of preprocess: staging/*/part-N -> data/split=*/part-N, quarantine/part-N,
deduplicated/part-N. Arrow only, no Spark; idempotent, as the first half.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farandole.config import Config
from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.manifest import FileEntry, Fill
from farandole.core.parquet import write_file
from farandole.core.schema import DEDUPLICATED, QUARANTINE, SPLITS, clean_schema
from farandole.core.split import assign_splits
from farandole.spark.duplicates import read_dropped
from farandole.spark.fill_columns import fill_columns
from farandole.spark.records import Source
from farandole.spark.table_rows import SIDE


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


def write_part(config: Config, source: Source, fills: dict[str, Fill], directory: Path, part: int) -> PartCounts:
    """Writes what is kept of a staged part into its splits, and the rest into quarantine and deduplicated.

    Args:
        config: the stage's.
        source: a label is an index into its class_names.
        fills: what takes the place of missing values.
        directory: the data set; directory/staging holds what `stage_part`, `drop_duplicates` and `interpolate` left.
        part: its number.
    """
    staging, name = directory / "staging", f"part-{part:05d}.parquet"
    dropped = read_dropped(staging, part)
    is_conflict = pc.greater(pc.list_value_length(dropped["labels"]), 1)
    conflicts = _conflicts(dropped.filter(is_conflict), source.class_names)
    quarantine = pa.concat_tables([pq.read_table(staging / "rejected" / name).cast(QUARANTINE), conflicts])
    deduplicated = dropped.filter(pc.invert(is_conflict)).select(DEDUPLICATED.names)
    for folder, schema, table in (("quarantine", QUARANTINE, quarantine), ("deduplicated", DEDUPLICATED, deduplicated)):
        if table.num_rows:
            write_file(directory, f"{folder}/{name}", schema, [table.sort_by("image_id")])
    return PartCounts(
        splits=_write_splits(config, source, fills, directory, part),
        quarantine=Counter(quarantine["reason"].to_pylist()),
        num_deduplicated=deduplicated.num_rows,
    )


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


def place_rows(
    config: Config, source: Source, staging: Path, part: int, columns: Iterable[str] = ()
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Where the rows of a staged part go.

    Returns:
        Their image_id, label, digest, sums and squares, and further columns as asked; their content hashes, int64 [n];
        and their splits, int8 [n], an index into SPLITS or -1 for a row that is not kept.
    """
    path = staging / "parts" / f"part-{part:05d}.parquet"
    rows = pq.ParquetFile(path).read(columns=["image_id", "split", "label", "digest", "sums", "squares", *columns])
    hashes = np.frombuffer(b"".join(rows["digest"].to_pylist()), "<i8")[::2].copy()  # the first 8 bytes of 16
    given = source.given
    splits = assign_splits(
        hashes, rows["split"].to_numpy(), config.split, has_val="val" in given, has_test="test" in given
    )
    dropped = read_dropped(staging, part)["image_id"].combine_chunks()
    is_dropped = pc.is_in(rows["image_id"], value_set=dropped).to_numpy()
    return rows, hashes, np.where(is_dropped, -1, splits).astype(np.int8)


def _write_splits(
    config: Config, source: Source, fills: dict[str, Fill], directory: Path, part: int
) -> dict[str, SplitCounts]:
    staging, name = directory / "staging", f"part-{part:05d}.parquet"
    columns = [f"{SIDE}{column}" for column in source.side_columns]
    rows, hashes, splits = place_rows(config, source, staging, part, columns)
    added = fill_columns(rows, source.side_columns, fills, staging, part)
    added = added.add_column(0, "content_hash", pa.array(hashes))
    file = pq.ParquetFile(staging / "parts" / name)
    counts = {}
    for index, split in enumerate(SPLITS):
        mask = splits == index
        if mask.any():
            tables = _selected(file, mask, added)
            schema = clean_schema(source.side_columns)
            entry = write_file(directory, f"data/split={split}/{name}", schema, tables)
            counts[split] = _count(rows.filter(pa.array(mask)), entry, len(source.class_names), config.image.channels)
    return counts


def _selected(file: pq.ParquetFile, mask: np.ndarray, added: pa.Table) -> Iterator[pa.Table]:
    """The rows of `mask` as tables of clean/, reading only row groups that have any; `added` are columns for all."""
    start = 0
    for index in range(file.num_row_groups):
        rows = slice(start, start + file.metadata.row_group(index).num_rows)
        if mask[rows].any():
            table = file.read_row_group(index, columns=["image_id", "image", "label"])
            for name in added.schema.names:
                table = table.append_column(name, added[name].slice(start, rows.stop - start))
            yield table.filter(pa.array(mask[rows]))
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
