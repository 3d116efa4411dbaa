"""Which columns of a table are used for what, and whether their types will do."""

from typing import NoReturn

import pyarrow as pa

from farandole.config.data import Data, Missing
from farandole.config.nearest import nearest_name
from farandole.core.dataset.schema import RESERVED_NAMES, SIDE_TYPES
from farandole.errors import ConfigError, DataError
from farandole.spark.source.table.column_types import (
    IMAGE_BYTES,
    INTEGERS,
    NUMBERS,
    REPEATED,
    is_pixels,
    is_whole,
    num_axes,
)

_LABELS = "whole numbers, booleans or strings"
_ORDERS = {*NUMBERS, *(name for name in SIDE_TYPES if name.startswith(("date", "timestamp")))}


def wanted_columns(data: Data, missing: Missing, *, with_images: bool) -> set[str]:
    """The names of the columns that are used."""
    names = {data.label_column, data.id_column, data.split_column, *data.keep_columns}
    for rule in missing.columns.values():
        names |= {rule.order_by, *rule.group_by} if rule.policy == "interpolate" else set()
    return (names | ({data.image_column} if with_images else set())) - {""}


def check_fill(missing: Missing, names: set[str]) -> None:
    """Refuses a missing.label that is none of the classes that the table names itself.

    Raises:
        ConfigError: names them.
    """
    fill = missing.label
    if fill != "drop" and fill not in names:
        raise ConfigError(f"missing.label = {fill!r} is no class; known are {', '.join(sorted(names)[:20])}")


def refuse_repeated_ids(data: Data, num_ids: int, example: str) -> NoReturn:
    """Raises DataError: so many ids occur more than once."""
    raise DataError(
        f"data.id_column = {data.id_column!r}: {num_ids} ids occur more than once, such as {example!r}; "
        f"ids name images, so each must be there once: choose another column, or leave data.id_column empty"
    )


def check_columns(data: Data, missing: Missing, columns: dict[str, str]) -> None:
    """Refuses settings whose columns the table does not have, or has in a type that will not do.

    Raises:
        ConfigError: a column is missing or has a reserved name, data.pixel_shape does not go with the image column, or
            a policy does not go with the type of its column.
        DataError: a type that no rule converts.
    """
    for key in ("image_column", "label_column", "id_column", "split_column"):
        if getattr(data, key):
            _find(columns, getattr(data, key), f"data.{key}")
    if data.label_table:
        _check_paths(data, columns[data.image_column])
    else:
        _check_image(data, columns)
    for key, allowed, expected in (
        ("label_column", is_whole(columns[data.label_column]) or columns[data.label_column] == "bool", _LABELS),
        ("id_column", columns.get(data.id_column) in INTEGERS, "integers or strings"),
        ("split_column", False, "strings"),
    ):
        name = getattr(data, key)
        if name and not allowed and columns[name] != "string":
            raise DataError(f"data.{key} = {name!r} is {columns[name]}; expected {expected}")
    for name in data.keep_columns:
        kind = _find(columns, name, "data.keep_columns")
        if name in RESERVED_NAMES:
            raise ConfigError(f"data.keep_columns: {name!r} is a column of our own; rename it in the table")
        if kind not in SIDE_TYPES:
            raise DataError(f"data.keep_columns: {name!r} is {kind}; kept can be {', '.join(SIDE_TYPES)}")
    _check_policies(data, missing, columns)


def _find(columns: dict[str, str], name: str, key: str) -> str:
    if columns.get(name) == REPEATED:
        raise DataError(f"{key}: the table has several columns {name!r}; rename all but one of them")
    if name in columns:
        return columns[name]
    nearest = nearest_name(name, columns)
    hint = f"did you mean {nearest!r}?" if nearest else f"the table has {', '.join([*columns][:20])}"
    raise ConfigError(f"{key}: the table has no column {name!r}; {hint}")


def _check_image(data: Data, columns: dict[str, str]) -> None:
    name, shape = data.image_column, data.pixel_shape
    kind = columns[name]
    if kind == "string":
        raise DataError(
            f"data.image_column = {name!r} is string; expected binary (encoded images) or a list of numbers (pixels); "
            f"where these are paths of files, set data.source = 'folder', data.path to the folder of the images, and "
            f"data.label_table to this table, as Parquet in one file, CSV or JSON"
        )
    if kind != "binary" and columns.get(f"{name}.{IMAGE_BYTES}") != "binary" and not is_pixels(kind):
        raise DataError(
            f"data.image_column = {name!r} is {kind}; expected binary (encoded images) or a list of numbers (pixels)"
        )
    if is_pixels(kind) and num_axes(kind) == 1 and not shape:
        raise ConfigError(f"data.image_column = {name!r} is {kind}; give its shape: data.pixel_shape = [height, width]")
    if num_axes(kind) > 3:
        raise DataError(
            f"data.image_column = {name!r} is {kind}; expected [height, width] or [height, width, channels]"
        )


def _check_paths(data: Data, kind: str) -> None:
    if kind != "string":
        raise DataError(f"data.image_column = {data.image_column!r} is {kind}; expected strings: paths of files")
    if data.pixel_shape:
        raise ConfigError(f"data.pixel_shape = {data.pixel_shape}, but images are files; remove the shape")


def _check_policies(data: Data, missing: Missing, columns: dict[str, str]) -> None:
    for name, rule in missing.columns.items():
        key = f"missing.columns.{name}"
        if name not in data.keep_columns:
            raise ConfigError(f"{key}: {name!r} is not kept; add it to data.keep_columns = {data.keep_columns}")
        if (rule.policy == "interpolate" or rule.statistic in ("mean", "median")) and columns[name] not in NUMBERS:
            raise ConfigError(
                f"{key}: {name!r} is {columns[name]}, and only numbers have a mean or a median, or can be interpolated"
            )
        if rule.policy == "interpolate":
            if _find(columns, rule.order_by, f"{key}.order_by") not in _ORDERS:
                raise ConfigError(f"{key}.order_by: {rule.order_by!r} is {columns[rule.order_by]}; it has no distances")
            for group in rule.group_by:
                if _find(columns, group, f"{key}.group_by") not in SIDE_TYPES:
                    raise ConfigError(f"{key}.group_by: {group!r} is {columns[group]}; it cannot name a group")
        _check_value(key, rule.value, SIDE_TYPES[columns[name]])


def _check_value(key: str, value: object, kind: pa.DataType) -> None:
    is_right = {
        bool: pa.types.is_boolean(kind),
        int: pa.types.is_integer(kind) or pa.types.is_floating(kind),
        float: pa.types.is_floating(kind),
        str: pa.types.is_string(kind),
    }
    if value is not None and not is_right[type(value)]:
        raise ConfigError(f"{key}: value = {value!r} does not go into a column of type {kind}")
