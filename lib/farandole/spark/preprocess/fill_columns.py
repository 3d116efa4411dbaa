"""Missing values of kept columns: what to put in, fitted on the train split, and where.

Statistics are exact, or exactly rounded: they depend neither on partitions nor on the order of rows. Infinite values
are no part of them.
"""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - what every Spark user calls it

from farandole.core.dataset.manifest import Fill
from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import nan_to_null
from farandole.spark.source.records import Part
from farandole.spark.source.table_rows import SIDE


def interpolate(rows: DataFrame) -> DataFrame:
    """Linear interpolation between the nearest valid neighbours; at the ends of a group the nearest one is repeated.

    Args:
        rows: part, image_id, value (double; null or NaN is missing), order (double), group (string).

    Returns:
        part, image_id, value: a row for every missing value with an order, in a group that has a valid one.
    """
    # Two sorts, each with a running frame: a frame that ends in the future would be scanned anew for every row.
    forward = Window.partitionBy("group").orderBy("order", "image_id").rowsBetween(Window.unboundedPreceding, -1)
    backward = Window.partitionBy("group").orderBy(F.desc("order"), F.desc("image_id"))
    is_valid = F.abs("value") < F.lit(float("inf"))  # to Spark, NaN is more than infinity
    point = F.when(is_valid, F.struct("order", "value"))
    left, right = F.col("left"), F.col("right")
    span = right["order"] - left["order"]
    share = F.when(span > 0, (F.col("order") - left["order"]) / span).otherwise(0.0)
    between = left["value"] + (right["value"] - left["value"]) * share
    return (
        rows.where("order IS NOT NULL")
        .withColumn("left", F.last(point, ignorenulls=True).over(forward))
        .withColumn("right", F.last(point, ignorenulls=True).over(backward.rowsBetween(Window.unboundedPreceding, -1)))
        .where((F.col("value").isNull() | F.isnan("value")) & (left.isNotNull() | right.isNotNull()))
        .select("part", "image_id", F.coalesce(between, left["value"], right["value"]).alias("value"))
    )


def fill_columns(part: Part, rows: pa.Table, fills: dict[str, Fill]) -> pa.Table:
    """The kept columns of a staged part under their own names, with missing values filled.

    Args:
        part: whose staging/interpolated/COLUMN/part=N holds what `interpolate` found.
        rows: with image_id and the kept columns.
        fills: by column; others are left as they are.
    """
    columns = {}
    for index, (name, kind) in enumerate(part.source.side_columns.items()):
        column = rows[f"{SIDE}{name}"]
        if name in fills:
            column = nan_to_null(column)
            found = part.staging / "interpolated" / str(index) / f"part={part.number}"
            if found.exists():  # Spark writes a folder, of files that it names, only for parts that have such rows
                column = pc.coalesce(column, _found(rows["image_id"], pq.read_table(found, partitioning=None), kind))
            column = pc.fill_null(column, _scalar(fills[name].value, kind))
        columns[name] = column
    return pa.table(columns) if columns else rows.select([])


def _found(ids: pa.ChunkedArray, found: pa.Table, kind: str) -> pa.ChunkedArray:
    places = pc.index_in(ids, value_set=found["image_id"].combine_chunks())
    values = found["value"].combine_chunks().take(places.combine_chunks())
    if pa.types.is_integer(SIDE_TYPES[kind]):
        values = pc.round(values, round_mode="half_to_even")
    return pa.chunked_array([values.cast(SIDE_TYPES[kind])])


def _scalar(value: int | float | str | bool, kind: str) -> pa.Scalar:
    stored = {"date32[day]": pa.int32()}.get(kind, pa.int64() if kind.startswith("timestamp") else SIDE_TYPES[kind])
    return pa.array([value], stored).cast(SIDE_TYPES[kind])[0]
