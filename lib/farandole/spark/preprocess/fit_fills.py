"""Fits what fills missing values: mean, median or mode of a kept column over the train split.

Every pass is one task per part that returns sums, counts or bounded numbers of keys, never rows.
"""

import functools
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from farandole.config.data import Missing
from farandole.core.dataset.manifest import Fill
from farandole.core.dataset.schema import SIDE_TYPES, SPLITS
from farandole.core.plan.order_statistics import Combine, Measure, keys_at_ranks
from farandole.core.plan.split import SplitPlan
from farandole.core.record.missing import (
    as_numbers,
    exact_sum,
    from_ordered_keys,
    mean_of,
    nan_to_null,
    ordered_keys,
    round_to,
    to_64_bits,
)
from farandole.errors import DataError
from farandole.spark.preprocess.duplicates import read_dropped
from farandole.spark.preprocess.place_parts import place_rows
from farandole.spark.source.records import Part, Source
from farandole.spark.source.table.rows import SIDE
from farandole.spark.tasks import reduce_tasks, run_tasks

MAX_DISTINCT = 1_000_000
"""Values among which a mode is looked for; they are counted in the driver's memory."""


def fit_fills(
    spark: SparkSession, missing: Missing, splits: SplitPlan, source: Source, staging: Path
) -> dict[str, Fill]:
    """What takes the place of missing values, by column, for policies fill and interpolate.

    The median of an even number of values is the mean of the middle two; of values that are equally frequent the mode
    is the smallest. Whole-number columns get the nearest whole number, halves the even one.

    Raises:
        DataError: a column has no valid value in the train split, or too many for a mode.
    """
    fills = {}
    for name, rule in missing.columns.items():
        if rule.policy not in ("fill", "interpolate"):
            continue
        statistic = rule.statistic or ("mean" if rule.value is None else "")
        value = _fit(spark, splits, source, staging, name, statistic) if statistic else rule.value
        assert value is not None
        fills[name] = Fill(policy=rule.policy, statistic=statistic, value=value)
    return fills


def _fit(
    spark: SparkSession, splits: SplitPlan, source: Source, staging: Path, name: str, statistic: str
) -> int | float | str | bool:
    kind = SIDE_TYPES[source.side_columns[name]]
    title = f"preprocess: {statistic} of {name}"

    def counted(part: int) -> tuple[int, int]:
        values = to_64_bits(_train_values(Part(staging, part, source), splits, name))
        return len(values), exact_sum(values)

    if statistic == "mode":
        return _mode(spark, splits, source, staging, name)
    sums = run_tasks(spark, title, source.num_parts, counted)
    count, total = sum(number for number, _ in sums), sum(part for _, part in sums)
    _refuse_empty(count, name, statistic)
    if statistic == "mean":
        return round_to(mean_of(total, count), kind)

    def scan(measure: Measure, combine: Combine) -> np.ndarray:
        def measured(part: int) -> np.ndarray:
            keys = ordered_keys(to_64_bits(_train_values(Part(staging, part, source), splits, name)))
            return measure(np.zeros(len(keys), np.int64), keys)

        def task(number: int) -> np.ndarray:
            return functools.reduce(combine, map(measured, range(number, source.num_parts, num_tasks)))

        return reduce_tasks(spark, title, num_tasks, task, combine)

    num_tasks = min(source.num_parts, spark.sparkContext.defaultParallelism)
    middle = keys_at_ranks(scan, [count], [np.array([(count - 1) // 2, count // 2])])[0]
    of_keys = (
        np.float64 if pa.types.is_floating(kind) else np.uint64 if pa.types.is_unsigned_integer(kind) else np.int64
    )
    low, high = (Fraction(value) for value in from_ordered_keys(middle, of_keys).tolist())
    return round_to((low + high) / 2, kind)


def _mode(spark: SparkSession, splits: SplitPlan, source: Source, staging: Path, name: str) -> int | float | str | bool:
    def counted(part: int) -> dict[int | float | str | bool, int]:
        values = _train_values(Part(staging, part, source), splits, name)
        if pa.types.is_floating(values.type):
            values = pc.add(values, pa.scalar(0.0, values.type))  # -0.0 becomes 0.0
        found = pc.value_counts(values)
        return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))

    total: Counter[int | float | str | bool] = Counter()
    for counts in run_tasks(spark, f"preprocess: mode of {name}", source.num_parts, counted):
        total.update(counts)
        if len(total) > MAX_DISTINCT:
            raise DataError(
                f"missing.columns.{name}: more than {MAX_DISTINCT} different values in train; take the median"
            )
    _refuse_empty(len(total), name, "mode")
    return min(total, key=lambda value: (-total[value], value))


def _refuse_empty(count: int, name: str, statistic: str) -> None:
    if not count:
        raise DataError(
            f"missing.columns.{name}: no valid value in the train split, so it has no {statistic}; "
            f"give a value, or drop such rows"
        )


def _train_values(part: Part, splits: SplitPlan, name: str) -> pa.ChunkedArray:
    rows, assigned = place_rows(part, splits, read_dropped(part), [f"{SIDE}{name}"])
    values = rows[f"{SIDE}{name}"].filter(pa.array(assigned == SPLITS.index("train")))
    values = as_numbers(nan_to_null(values).drop_null())
    return values.filter(pc.is_finite(values)) if pa.types.is_floating(values.type) else values
