"""Rows that must not be parted: those that are equal in split.group_column go to one split."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.core.fingerprint import hash_ids
from farandole.core.record.missing import nan_to_null
from farandole.errors import DataError
from farandole.spark.source.records import Source
from farandole.spark.source.table.rows import SIDE
from farandole.spark.tasks import run_tasks

ROWS_PER_TASK = 4_000_000
"""Compared at once, in some hundreds of MB."""


def split_keys(rules: Split, originals: np.ndarray, side: pa.Table) -> np.ndarray:
    """By what the split of each row is drawn, int64 [n]: a hash of its group, or where it has none of its picture.

    Args:
        rules: of the splits.
        originals: int64 [n], what fingerprint.original_hash says of the pictures.
        side: the kept columns of the rows, behind SIDE.
    """
    if not rules.group_column:
        return originals
    groups = nan_to_null(side[f"{SIDE}{rules.group_column}"]).cast(pa.string())
    return np.where(groups.is_valid().to_numpy(), hash_ids(pc.fill_null(groups, "")).view(np.int64), originals)


def check_groups(spark: SparkSession, rules: Split, source: Source, staging: Path) -> None:
    """Refuses groups of which some rows were given as val or test, and others were not or as another one.

    Raises:
        DataError: says how many there are, and names one.
    """
    if not rules.group_column or not source.given & {"val", "test"}:
        return
    num_tasks, column = max(1, -(-source.input_rows // ROWS_PER_TASK)), f"{SIDE}{rules.group_column}"
    found = run_tasks(
        spark, "preprocess: compare groups", num_tasks, lambda task: _parted(staging, column, task, num_tasks)
    )
    parted = [example for _, example in found if example]
    if parted:
        group, *sides = min(parted)
        raise DataError(
            f"split.group_column = {rules.group_column!r}: {sum(number for number, _ in found)} groups have rows in "
            f"several splits of the input, such as {group!r} in {' and '.join(sides)}; give all rows of a group one"
        )


def _parted(staging: Path, column: str, task: int, num_tasks: int) -> tuple[int, tuple[str, ...]]:
    """How many of a task's groups are parted; of the first one the name and the splits."""
    import pyarrow.dataset as ds  # here because it takes pandas with it

    low, high = (number * 2**64 // num_tasks - 2**63 for number in (task, task + 1))
    mine = (pc.field("split_key") >= low) & (pc.field("split_key") <= high - 1) & pc.field(column).is_valid()
    parts = ds.dataset(staging / "parts", format="parquet")
    rows = parts.to_table(columns={"side": pc.field("split"), "group": pc.field(column)}, filter=mine)
    side = pc.max_element_wise(rows["side"], 0)  # rows that are given as train, or not at all, are those that are drawn
    groups = nan_to_null(rows["group"]).cast(pa.string())
    pairs = pa.table({"group": groups, "side": side}).filter(groups.is_valid())
    pairs = pairs.group_by(["group", "side"]).aggregate([])
    counts = pairs.group_by("group").aggregate([("side", "count")])
    parted = counts.filter(pc.greater(counts["side_count"], 1))["group"]
    if not len(parted):
        return 0, ()
    first = pc.min(parted).as_py()
    sides = sorted(pairs.filter(pc.equal(pairs["group"], first))["side"].to_pylist())
    return len(parted), (first, *(SPLITS[index] for index in sides))
