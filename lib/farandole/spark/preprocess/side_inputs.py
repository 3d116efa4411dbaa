"""Kept columns that a model is given besides the picture: what they may hold, and their mean and deviation in train."""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.manifest import Stats
from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import exact_sum, mean_of
from farandole.errors import ConfigError, DataError
from farandole.spark.source.table.rows import SIDE


@dataclass(frozen=True)
class Moments:
    """What rows add to the statistics of one column, without rounding."""

    num_rows: int = 0
    num_missing: int = 0
    """Of them null, NaN, or no finite float32."""
    total: int = 0
    """The `exact_sum` of the others."""
    squares: int = 0
    """The `exact_sum` of their squares."""

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(*(mine + theirs for mine, theirs in zip(_fields(self), _fields(other), strict=True)))


def _fields(moments: Moments) -> tuple[int, ...]:
    return moments.num_rows, moments.num_missing, moments.total, moments.squares


def check_types(inputs: list[str], side_columns: dict[str, str]) -> None:
    """Refuses inputs that are no numbers.

    Args:
        inputs: sample.inputs.
        side_columns: the kept columns: name -> a key of SIDE_TYPES.

    Raises:
        ConfigError: a column has another type; names it.
    """
    for name in inputs[1:]:
        kind = SIDE_TYPES[side_columns[name]]
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ConfigError(
                f"sample.inputs: column {name!r} holds {kind}; an input holds numbers or booleans; take it out, or "
                f"make a column of numbers of it"
            )


def _as_float32(column: pa.ChunkedArray) -> np.ndarray:
    """As the reader gives them to a model; null becomes NaN, and what is too large infinite."""
    numbers = pc.cast(column, pa.float64(), safe=False)  # booleans become 0 and 1, large integers the nearest
    with np.errstate(over="ignore"):
        return numbers.to_numpy().astype(np.float32)


def with_numbers(rows: pa.Table, inputs: list[str]) -> pa.Table:
    """Staged rows with the input columns in their digest: equal pictures with other numbers are no duplicates."""
    if not inputs[1:]:
        return rows
    numbers = np.stack([_as_float32(rows[f"{SIDE}{name}"]) + 0.0 for name in inputs[1:]], axis=1)  # -0.0 becomes 0.0
    numbers[np.isnan(numbers)] = np.nan  # of all NaN the same one
    both = [digest + own.tobytes() for digest, own in zip(rows["digest"].to_pylist(), numbers, strict=True)]
    return rows.set_column(rows.schema.get_field_index("digest"), "digest", pa.array(both, pa.binary()))


def moments_of(column: pa.ChunkedArray) -> Moments:
    """Of the values as float32, which is what a model is given; their squares are exact as float64."""
    values = _as_float32(column).astype(np.float64)
    known = values[np.isfinite(values)]
    return Moments(len(values), len(values) - len(known), exact_sum(known), exact_sum(known**2))


def stats_of(name: str, splits: dict[str, list[Moments]]) -> Stats:
    """The mean and standard deviation of the train split, from exact sums.

    Args:
        name: of the column.
        splits: the moments of each split, in parts.

    Raises:
        DataError: values are missing, in any split.
    """
    whole = {split: reduce(Moments.__add__, parts, Moments()) for split, parts in splits.items()}
    missing = {split: found.num_missing for split, found in whole.items() if found.num_missing}
    if missing:
        of = ", ".join(f"{count} of {whole[split].num_rows} in {split}" for split, count in missing.items())
        raise DataError(
            f"sample.inputs: column {name!r} has rows without a finite number: {of}; set missing.columns.{name}.policy "
            f"to drop, fill or interpolate for nulls and NaN, and leave infinite numbers out of the input"
        )
    train = whole["train"]
    mean = mean_of(train.total, train.num_rows)
    return Stats(mean=[float(mean)], std=[math.sqrt(mean_of(train.squares, train.num_rows) - mean * mean)])
