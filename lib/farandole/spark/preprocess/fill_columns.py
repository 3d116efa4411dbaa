"""Missing values of kept columns: what to put in, fitted on the train split, and where.

Statistics are exact, or exactly rounded: they depend neither on partitions nor on the order of rows. Infinite values
are no part of them.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - what every Spark user calls it

from farandole.core.dataset.manifest import Fill
from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import between, nan_to_null
from farandole.spark.source.records import Part
from farandole.spark.source.table.rows import SIDE


def interpolate(rows: DataFrame) -> DataFrame:
    """The nearest valid neighbours of missing values, for linear interpolation.

    Args:
        rows: part, id, value (a number; null or NaN is missing), order (double or decimal), group (string).

    Returns:
        part, id, order, left and right (order and value, or null at an end of the group): a row for every missing
        value with an order, in a group that has a valid one.
    """
    # Two sorts, each with a running frame: a frame that ends in the future would be scanned anew for every row.
    forward = Window.partitionBy("group").orderBy("order", "id").rowsBetween(Window.unboundedPreceding, -1)
    backward = Window.partitionBy("group").orderBy(F.desc("order"), F.desc("id"))
    number = F.col("value").cast("double")
    is_valid = F.abs(number) < F.lit(float("inf"))  # to Spark, NaN is more than infinity
    is_missing = number.isNull() | F.isnan(number)
    point = F.when(is_valid, F.struct("order", "value"))
    left, right = F.col("left"), F.col("right")
    return (
        rows.where("order IS NOT NULL")
        .withColumn("left", F.last(point, ignorenulls=True).over(forward))
        .withColumn("right", F.last(point, ignorenulls=True).over(backward.rowsBetween(Window.unboundedPreceding, -1)))
        .where(is_missing & (left.isNotNull() | right.isNotNull()))
        .select("part", "id", "order", "left", "right")
    )


def fill_columns(part: Part, rows: pa.Table, fills: dict[str, Fill]) -> pa.Table:
    """The kept columns of a staged part under their own names, with missing values filled.

    Args:
        part: whose staging/interpolated/COLUMN/part=N holds what `interpolate` found.
        rows: with id and the kept columns.
        fills: by column; others are left as they are.
    """
    columns = {}
    for index, (name, kind) in enumerate(part.source.side_columns.items()):
        column = rows[f"{SIDE}{name}"]
        if name in fills:
            column = nan_to_null(column)
            found = part.staging / "interpolated" / str(index) / f"part={part.number}"
            if found.exists():  # Spark writes a folder, of files that it names, only for parts that have such rows
                column = pc.coalesce(column, _found(rows["id"], pq.read_table(found, partitioning=None), kind))
            column = pc.fill_null(column, _scalar(fills[name].value, kind))
        columns[name] = column
    return pa.table(columns) if columns else rows.select([])


def _found(ids: pa.ChunkedArray, found: pa.Table, kind: str) -> pa.ChunkedArray:
    places = pc.index_in(ids, value_set=found["id"].combine_chunks())
    is_whole = pa.types.is_integer(SIDE_TYPES[kind])
    values = [_value(row, is_whole) for row in found.select(["order", "left", "right"]).to_pylist()]
    return pa.chunked_array([pa.array(values, SIDE_TYPES[kind]).take(places.combine_chunks())])


def _value(row: dict[str, Any], is_whole: bool) -> int | float:
    """At the ends of a group the nearest value is repeated."""
    left, right = row["left"] or row["right"], row["right"] or row["left"]
    return between(row["order"], (left["order"], left["value"]), (right["order"], right["value"]), is_whole=is_whole)


def _scalar(value: int | float | str | bool, kind: str) -> pa.Scalar:
    stored = {"date32[day]": pa.int32()}.get(kind, pa.int64() if kind.startswith("timestamp") else SIDE_TYPES[kind])
    return pa.array([value], stored).cast(SIDE_TYPES[kind])[0]
