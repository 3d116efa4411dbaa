"""The second tasks of preprocess: where each staged row goes. Its small columns are sorted by the file of clean/ that
it goes to; what is not kept goes to quarantine/part-N and deduplicated/part-N. Arrow only, no Spark; idempotent.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.manifest import Fill
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import CLEAN, DEDUPLICATED, QUARANTINE, SIDE_TYPES, SPLITS
from farandole.core.fingerprint import content_hash, hash_ids, id_checksum
from farandole.core.plan.layout import files_by_hash
from farandole.core.plan.split import SplitPlan, assign_splits
from farandole.spark.preprocess.duplicates import read_dropped
from farandole.spark.preprocess.fill_columns import fill_columns
from farandole.spark.preprocess.originals import ORIGINALS
from farandole.spark.preprocess.remarks import Example
from farandole.spark.preprocess.side_inputs import Moments, moments_of
from farandole.spark.preprocess.staged_images import FIELDS
from farandole.spark.source.records import Part, Source
from farandole.spark.source.table.rows import SIDE
from farandole.spark.spill import write_spill

MAX_GROUPS = 256
"""Of parts, each of which is one task and one spill file. Every file of clean/ looks into all spill files."""


@dataclass(frozen=True)
class SplitCounts:
    """What one group of parts adds to one split."""

    class_counts: np.ndarray
    """int64 [num_classes]."""
    id_checksum: int
    sums: list[int]
    """Of the pixels, one per channel."""
    squares: list[int]
    """Of the pixels' squares."""
    numbers: dict[str, Moments]
    """Of the kept columns that are inputs."""


@dataclass(frozen=True)
class PartCounts:
    """What a task reports to the driver: counts, never rows."""

    splits: dict[str, SplitCounts]
    """Splits without rows of these parts are absent."""
    quarantine: dict[str, int]
    examples: dict[str, Example]
    """By reason: one of the records that are quarantined."""
    num_deduplicated: int


def groups_of_parts(source: Source) -> list[range]:
    """Parts that are placed together: single ones, unless there are many."""
    size = max(1, -(-source.num_parts // MAX_GROUPS))
    return [range(first, min(first + size, source.num_parts)) for first in range(0, source.num_parts, size)]


def placed_schema(source: Source) -> pa.Schema:
    """Columns of staging/placed/*.arrow: the small ones of clean/, kept columns behind SIDE, and where the image is."""
    small = [field for field in CLEAN if field.name != "image"]
    side = [pa.field(f"{SIDE}{name}", SIDE_TYPES[kind]) for name, kind in source.side_columns.items()]
    return pa.schema([*small, *side, pa.field("key", pa.uint64()), *ORIGINALS, *FIELDS])


def placed_path(staging: Path, group: int) -> Path:
    """The spill file of a group."""
    return staging / "placed" / f"{group}.arrow"


def place_parts(
    splits: SplitPlan,
    source: Source,
    fills: dict[str, Fill],
    inputs: list[str],
    directory: Path,
    group: int,
    numbers: range,
) -> PartCounts:
    """Sends what is kept of some staged parts on its way to clean/, and the rest to quarantine and deduplicated.

    Args:
        splits: where they are cut.
        source: a label is an index into its class_names.
        fills: what takes the place of missing values.
        inputs: sample.inputs.
        directory: the data set; directory/staging holds what `stage_part`, `drop_duplicates` and `interpolate` left.
        group: its number among `groups_of_parts`.
        numbers: of its parts.
    """
    staging = directory / "staging"
    parts = [Part(staging, number, source) for number in numbers]
    rejected = [part.read("rejected").cast(QUARANTINE) for part in parts]
    dropped_of = [read_dropped(part) for part in parts]
    dropped = pa.concat_tables(dropped_of)
    is_conflict = pc.greater(pc.list_value_length(dropped["labels"]), 1)
    quarantine = pa.concat_tables([*rejected, _conflicts(dropped.filter(is_conflict), source.class_names)])
    deduplicated = dropped.filter(pc.invert(is_conflict)).select(DEDUPLICATED.names)
    for folder, schema, table in (("quarantine", QUARANTINE, quarantine), ("deduplicated", DEDUPLICATED, deduplicated)):
        if table.num_rows:
            path = f"{folder}/part-{group:05d}.parquet"
            write_file(directory, path, schema, [table.sort_by([("id", "ascending"), ("source", "ascending")])])
    placed = pa.concat_tables(
        [_place_part(part, splits, fills, own) for part, own in zip(parts, dropped_of, strict=True)]
    )
    _spill(source, staging, group, placed)
    return PartCounts(
        splits=_count(placed, len(source.class_names), inputs),
        quarantine=Counter(quarantine["reason"].to_pylist()),
        examples=_examples(quarantine),
        num_deduplicated=deduplicated.num_rows,
    )


def _conflicts(dropped: pa.Table, class_names: list[str]) -> pa.Table:
    rows = [
        {
            "id": row["id"],
            "source": row["source"],
            "reason": "conflicting_label",
            "detail": f"the same picture is labelled {', '.join(repr(class_names[label]) for label in row['labels'])}",
        }
        for row in dropped.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def _examples(quarantine: pa.Table) -> dict[str, Example]:
    """By reason, the record with the smallest id."""
    rows = quarantine.sort_by("id")
    firsts = {reason: rows.slice(rows["reason"].index(reason).as_py(), 1) for reason in set(rows["reason"].to_pylist())}
    return {reason: (row["id"][0].as_py(), row["detail"][0].as_py()) for reason, row in firsts.items()}


def place_rows(
    part: Part, plan: SplitPlan, dropped: pa.Table, columns: Iterable[str] = ()
) -> tuple[pa.Table, np.ndarray]:
    """Where the rows of a staged part go.

    Args:
        part: it is staged.
        plan: of the splits.
        dropped: what `read_dropped` says of it.
        columns: more that are wanted.

    Returns:
        Their id and further columns as asked; and their splits, int8 [n], an index into SPLITS or -1 for a row
        that is not kept.
    """
    rows = part.read("parts", ["id", "split", "split_key", *columns])
    splits = assign_splits(rows["split_key"].to_numpy(), rows["split"].to_numpy(), plan)
    is_dropped = pc.is_in(rows["id"], value_set=dropped["id"].combine_chunks()).to_numpy()
    return rows, np.where(is_dropped, -1, splits).astype(np.int8)


def _place_part(part: Part, plan: SplitPlan, fills: dict[str, Fill], dropped: pa.Table) -> pa.Table:
    """The rows of a part that are kept: the columns of `placed_schema`, then sums and squares."""
    places = [field.name for field in FIELDS]
    side = [f"{SIDE}{name}" for name in part.source.side_columns]
    stored = ["id", "label", "sums", "squares", "original", *places]
    rows, splits = place_rows(part, plan, dropped, [*stored[1:], "digest", *side])
    added = fill_columns(part, rows, fills)
    placed = {
        **{name: rows[name] for name in stored},
        **{f"{SIDE}{name}": added[name] for name in added.schema.names},
        "content_hash": np.array([content_hash(digest) for digest in rows["digest"].to_pylist()], np.int64),
        "key": hash_ids(rows["id"]),
        "split": splits,
    }
    names = [*placed_schema(part.source).names, "sums", "squares"]
    return pa.table(placed).select(names).filter(pa.array(splits >= 0))


def _spill(source: Source, staging: Path, group: int, placed: pa.Table) -> None:
    """Sorted by file."""
    files = files_by_hash(placed["key"].to_numpy(), source.num_files)
    order = np.argsort(files, kind="stable")
    bounds = np.searchsorted(files[order], np.arange(source.num_files + 1)).tolist()
    rows = placed.drop_columns(["sums", "squares"]).take(pa.array(order)).cast(placed_schema(source)).combine_chunks()
    slices = (rows.slice(start, stop - start).to_batches() for start, stop in pairwise(bounds))
    path = placed_path(staging, group)
    path.parent.mkdir(exist_ok=True)
    write_spill(path, placed_schema(source), slices)


def _count(placed: pa.Table, num_classes: int, inputs: list[str]) -> dict[str, SplitCounts]:
    counts = {}
    for index, split in enumerate(SPLITS):
        rows = placed.filter(pa.array(placed["split"].to_numpy() == index))
        if rows.num_rows:
            sums, squares = (
                rows[column].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1).sum(axis=0).tolist()
                for column in ("sums", "squares")
            )
            counts[split] = SplitCounts(
                class_counts=np.bincount(rows["label"].to_numpy(), minlength=num_classes),
                id_checksum=id_checksum(rows["key"].to_numpy(), 0),
                sums=sums,
                squares=squares,
                numbers={name: moments_of(rows[f"{SIDE}{name}"]) for name in inputs[1:]},
            )
    return counts
