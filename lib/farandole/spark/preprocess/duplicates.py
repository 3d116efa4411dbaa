"""Equal pictures: which one is kept, found by digests alone, without the images; and what splits follow from.

Tasks share the digests out by their value; each reads the small columns of all parts. That is a few dozen bytes per
picture and task, so up to some hundreds of millions of pictures it costs little beside their decoding.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from farandole.config.data import Split
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import SPLITS
from farandole.core.plan.split import SplitPlan, largest_keys, plan_splits
from farandole.spark.preprocess.side_inputs import with_numbers
from farandole.spark.source.records import Part, Source
from farandole.spark.source.table.rows import SIDE
from farandole.spark.tasks import run_tasks

ROWS_PER_TASK = 2_000_000
"""About 200 MB in memory."""

DROPPED = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),  # distinct and ascending; several are a conflict
    ]
)
"""Columns of staging/dropped/*.parquet."""

_COMPARED = ["part", "id", "source", "split", "label", "digest", "original", "split_key"]
_VAL, _TEST = SPLITS.index("val"), SPLITS.index("test")


def drop_duplicates(spark: SparkSession, rules: Split, source: Source, inputs: list[str], staging: Path) -> SplitPlan:
    """Writes staging/dropped/*.parquet, of DROPPED, from the staged parts; where the splits of what is kept are cut.
    Rows are equal if all inputs are."""
    num_tasks, num_classes = max(1, -(-source.input_rows // ROWS_PER_TASK)), len(source.class_names)

    def task(number: int) -> np.ndarray:
        kept = _drop_some(staging, inputs, number, num_tasks)
        keys, labels, given = (kept[name].to_numpy() for name in ("split_key", "label", "split"))
        return largest_keys(keys, labels, given, rules.seed, num_classes)

    largest = run_tasks(spark, "preprocess: compare", num_tasks, task)
    return plan_splits(rules, source.given, np.max(largest, axis=0))


def _drop_some(staging: Path, inputs: list[str], task: int, num_tasks: int) -> pa.Table:
    """Writes what one task drops; returns split_key, label and split of what it keeps."""
    import pyarrow.dataset as ds  # here and below because it takes pandas with it: half the imports of any job

    parts = ds.dataset(staging / "parts", format="parquet")
    low, high = (number * 2**32 // num_tasks for number in (task, task + 1))
    mine = pc.field("digest") >= pa.scalar(low.to_bytes(4, "big"))
    if high < 2**32:
        mine &= pc.field("digest") < pa.scalar(high.to_bytes(4, "big"))
    columns = [*_COMPARED, *(f"{SIDE}{name}" for name in inputs[1:])]
    rows = with_numbers(parts.to_table(columns=columns, filter=mine), inputs)
    dropped = find_dropped(rows)
    write_file(staging, f"dropped/part-{task:05d}.parquet", DROPPED, [dropped])
    is_dropped = pc.is_in(rows["id"], value_set=dropped["id"].combine_chunks())
    return rows.select(["split_key", "label", "split"]).filter(pc.invert(is_dropped))


def read_dropped(part: Part) -> pa.Table:
    """The rows of one part that are not kept, of schema DROPPED."""
    import pyarrow.dataset as ds

    dropped = ds.dataset(part.staging / "dropped", schema=DROPPED, format="parquet")
    return dropped.to_table(filter=pc.field("part") == part.number)


def find_dropped(rows: pa.Table) -> pa.Table:
    """The rows that are not kept because another one shows the same picture.

    Args:
        rows: part, id, source, split (index into SPLITS, or UNSPLIT), label, digest, original; all rows of a
            digest.

    Returns:
        A table of schema DROPPED, in the order of part and id. With one label, a row for every member of the
        group but the one that is kept: of test before val before the rest, then with the smallest original, so that
        which one it is, and with it the split, depends on no name. With more labels, for every member.
    """
    counts = rows.select(["digest"]).group_by("digest").aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))["digest"]
    rows = rows.filter(pc.is_in(rows["digest"], value_set=repeated.combine_chunks()))
    if not rows.num_rows:
        return DROPPED.empty_table()
    split = rows["split"].to_numpy()
    preference = np.where(split == _TEST, 0, np.where(split == _VAL, 1, 2))
    rows = rows.append_column("preference", pa.array(preference))
    rows = rows.sort_by([(name, "ascending") for name in ("digest", "preference", "original", "id")]).combine_chunks()
    group = rows["digest"].combine_chunks().dictionary_encode().indices.to_numpy()  # sorted, so 0, 0, 1, 1, 1, 2, ...
    firsts = np.unique(group, return_index=True)[1]
    labels = np.unique(np.stack([group, rows["label"].to_numpy()], axis=1), axis=0)
    offsets = np.searchsorted(labels[:, 0], np.arange(len(firsts) + 1)).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels[:, 1].astype(np.int32)))
    is_dropped = (np.diff(offsets)[group] > 1) | (np.arange(len(group)) != firsts[group])
    columns = {
        **{name: rows[name] for name in ("part", "id", "source")},
        "kept_id": rows["id"].take(pa.array(firsts[group])),
        "labels": lists.take(pa.array(group)),
    }
    dropped = pa.table(columns).filter(pa.array(is_dropped)).cast(DROPPED)
    return dropped.sort_by([("part", "ascending"), ("id", "ascending")])
