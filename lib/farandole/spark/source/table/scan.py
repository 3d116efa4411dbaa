"""What is known of a table only after its labels, splits and ids were read once, as tasks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import SparkSession

from farandole.config.data import Data, Missing
from farandole.core.dataset.parquet import write_file
from farandole.core.fingerprint import hash_ids
from farandole.spark.source.listing import Survey, read_listed
from farandole.spark.source.table.columns import check_fill, refuse_repeated_ids
from farandole.spark.source.table.rows import read_pieces
from farandole.spark.tasks import run_tasks

IDS_PER_TASK = 4_000_000
"""Compared at once, in some hundreds of MB."""
_ROWS_PER_SCAN = 65_536


def survey_table(spark: SparkSession, data: Data, missing: Missing, pieces: pa.Table, staging: Path) -> Survey:
    """Reads all rows but their images.

    Args:
        spark: whose executors see the table and staging.
        data, missing: which columns are what, and what is done about nulls in them.
        pieces: of `list_table`; they are in staging/listing.parquet, too.
        staging: where the ids go.

    Raises:
        ConfigError: missing.label is none of the classes.
        DataError: two rows have one id, an id is null, or a split is none.
    """
    scanned = run_tasks(
        spark,
        "preprocess: read labels",
        len(pc.unique(pieces["part"])),
        lambda part: _scan_part(data, missing, staging, part),
        failure_mark=staging / "failed",
    )
    class_names = set().union(*(names for names, _ in scanned))
    check_fill(missing, class_names)
    num_records = int(pc.sum(pc.subtract(pieces["stop"], pieces["start"])).as_py())
    if data.id_column:
        _check_ids(spark, data, staging, num_records)
    return Survey(class_names, set().union(*(splits for _, splits in scanned)), num_records)


def _scan_part(data: Data, missing: Missing, staging: Path, part: int) -> tuple[set[str], set[str]]:
    """The classes and the splits of a part; its ids go to staging/ids."""
    pieces = read_listed(staging, part)
    # A class that is only filled in is none.
    rows = read_pieces(data, missing, pieces, _ROWS_PER_SCAN, with_images=False, fill_labels=False)
    names: set[str] = set()
    splits: set[str] = set()
    tables = []
    for table in rows:
        names.update(pc.unique(table["class_name"].filter(table["reason"].is_null())).to_pylist())
        splits.update(pc.unique(table["split"].drop_null()).to_pylist())
        if data.id_column:
            ids = table.select(["id"])
            tables.append(ids.append_column("hash", pa.array(hash_ids(ids["id"]))))
    if data.id_column:
        write_file(staging, f"ids/part-{part:05d}.parquet", tables[0].schema, tables)
    return names, splits


def _check_ids(spark: SparkSession, data: Data, staging: Path, num_rows: int) -> None:
    """Tasks share the ids out by their hash, as duplicates.py does the digests."""
    num_tasks = max(1, -(-num_rows // IDS_PER_TASK))
    found = run_tasks(spark, "preprocess: compare ids", num_tasks, lambda task: _repeated_ids(staging, task, num_tasks))
    if any(number for number, _ in found):
        refuse_repeated_ids(data, sum(number for number, _ in found), min(first for number, first in found if number))


def _repeated_ids(staging: Path, task: int, num_tasks: int) -> tuple[int, str]:
    """How many of a task's ids occur twice or more, and the smallest of them."""
    low, high = (number * 2**64 // num_tasks for number in (task, task + 1))
    mine = pc.field("hash") >= pa.scalar(low, pa.uint64())
    if high < 2**64:
        mine &= pc.field("hash") < pa.scalar(high, pa.uint64())
    ids = ds.dataset(staging / "ids", format="parquet").to_table(columns=["id"], filter=mine)
    counts = ids.group_by("id").aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))["id"]
    return len(twice), pc.min(twice).as_py() or ""
