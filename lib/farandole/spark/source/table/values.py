"""Columns as they stand in files -> the few types that records have, whichever of several files they come from."""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import nan_to_null
from farandole.errors import DataError
from farandole.log import first_few, say
from farandole.spark.source.table.column_types import IMAGE_BYTES, is_pixels, num_axes, plain_type, take_column
from farandole.spark.source.table.files import one_line

_WORDS_FOR_NONE = frozenset(["", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "nil", "none", "?", "-"])


def image_values(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Images as large_binary, or pixels as lists.

    Args:
        column: of encoded images or pixels, or structs with the former as IMAGE_BYTES.
        kind: the type that most files have, as `plain_type` names it; a file may have nulls alone.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_struct(column.type):
        column = take_column(pa.table({"": column}), f".{IMAGE_BYTES}")
    if not is_pixels(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_fixed_size_list(column.type) and num_axes(kind) == 1:
        return column
    numbers = column.type
    while hasattr(numbers, "value_type"):
        numbers = numbers.value_type
    for _ in range(num_axes(kind)):
        numbers = pa.large_list(numbers)
    return column.cast(numbers)


def plain_values(column: pa.ChunkedArray, kind: str, name: str) -> pa.ChunkedArray:
    """Values of a kept column, or of one that interpolation goes along, in the type that is called `kind`.

    Raises:
        DataError: one of them does not fit; `name` says of which column.
    """
    if plain_type(column.type) == kind == str(column.type):
        return column
    # Nanoseconds are cut to the microseconds that Spark reads.
    is_finer = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    try:
        return column.cast(SIDE_TYPES[kind], safe=not is_finer)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{name} has a value that {kind} does not hold: {one_line(error)}; mend or leave out its row"
        ) from error


def class_names(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text, null where they are null, NaN or empty; whole doubles and decimals as whole numbers."""
    names = _texts(labels)
    # Not if_else on the strings themselves: Arrow 14 returns other strings for the middle of an array.
    places = pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.int64()), pa.array(np.arange(len(names))))
    return names.take(places)


def _texts(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(labels.type):
        numbers, whole_type = nan_to_null(labels.cast(pa.float64())), pa.int64()
        is_whole = pc.and_(pc.equal(pc.trunc(numbers), numbers), pc.less(pc.abs(numbers), 2.0**53))
    elif pa.types.is_decimal(labels.type):
        numbers, whole_type = labels.cast(pa.decimal256(76, max(labels.type.scale, 0))), pa.decimal256(76, 0)
        is_whole = pc.equal(pc.trunc(numbers), numbers)
    else:
        return labels.cast(pa.string())
    whole = pc.if_else(is_whole, numbers, pa.scalar(None, numbers.type)).cast(whole_type).cast(pa.string())
    return pc.coalesce(whole, numbers.cast(pa.string()))


def warn_of_words_for_none(class_names: Iterable[str]) -> None:
    """One line about labels that may have been written for none; a folder of such a name is meant."""
    names = [repr(name) for name in sorted(class_names) if name.strip().casefold() in _WORDS_FOR_NONE]
    if names:
        say(
            f"preprocess: warning: labels such as {first_few(names, 5)} are taken for classes; "
            f"leave the field empty, or null, where there is no label"
        )


def compare_with_folder(column: pa.ChunkedArray, name: str, value: str | None, first: str) -> None:
    """Compares a column with the KEY=VALUE folder of its name.

    Raises:
        DataError: they differ in a row; `first` names the first row of the column.
    """
    if value is None:
        same = column.is_null()
    else:
        same = pc.equal(column.cast(pa.string()), value)
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # else it is no such value
            same = pc.or_(same, pc.equal(column, pa.scalar(value).cast(column.type)))
    at = pc.fill_null(same, False).index(False).as_py()
    if at >= 0:
        raise DataError(
            f"column {name!r} is {column[at].as_py()!r} {at} rows behind {first}, but its folder says {value!r}; "
            f"drop the column, or mend one of them"
        )
