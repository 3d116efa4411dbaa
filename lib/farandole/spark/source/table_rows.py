"""Rows of a partitioned Parquet table, as the batches that preprocess works on."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farandole.config.load import Config
from farandole.core.dataset.page_checksums import check_pages
from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import as_numbers, nan_to_null, repair_pixels
from farandole.core.record.quality import RejectedError
from farandole.errors import DataError
from farandole.spark.source.folder import SPLIT_FOLDERS
from farandole.spark.source.table_columns import is_integer, plain_type
from farandole.spark.source.table_files import folder_values, one_line, read_footer, table_root

SIDE, ORDER, GROUP = "side:", "order:", "group:"
"""Prefixes in a batch and in staging/parts: a kept column, and what its interpolation goes along and stays inside."""
_BUFFER_BYTES = 1024 * 1024


def read_rows(config: Config, pieces: pa.Table, num_rows: int, *, with_images: bool = True) -> Iterator[pa.Table]:
    """The rows of some pieces in their order, `num_rows` at a time, the last batch shorter.

    Args:
        config: sections data and missing.
        pieces: of `list_table`, with its metadata.
        num_rows: of a batch.
        with_images: whether to read them.

    Returns:
        Tables with image_id, source, split, class_name, reason and detail (null unless the row is rejected), image,
        and for kept columns those with the prefixes SIDE, ORDER and GROUP.

    Raises:
        DataError: a file is gone, changed or damaged, an id is null, or a split is none; names the file.
    """
    kinds = json.loads(pieces.schema.metadata[b"columns"])
    pending: list[pa.Table] = []
    for table in _read_pieces(config, pieces, kinds, num_rows, with_images):
        pending.append(table)
        if sum(part.num_rows for part in pending) >= num_rows:
            whole = pa.concat_tables(pending)
            yield whole.slice(0, num_rows)
            pending = [whole.slice(num_rows)]
    if sum(part.num_rows for part in pending):
        yield pa.concat_tables(pending)


def image_loader(config: Config, column: pa.ChunkedArray) -> Callable[[int], bytes | np.ndarray]:
    """A function from a position in a batch's image column to encoded bytes, or pixels without NaN.

    The function raises RejectedError: missing_image, wrong_channels, nan_pixels or undecodable.
    """
    array = pa.concat_arrays(column.chunks)
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    if not hasattr(array, "values"):  # no list: encoded bytes
        return lambda index: array[_checked(is_valid, index)].as_py()
    values, is_known = array.values, None
    if values.null_count and pa.types.is_integer(values.type):
        # Arrow would make floats of all images as soon as a pixel of one of them is null.
        is_known = values.is_valid().to_numpy(zero_copy_only=False)
        values = values.fill_null(0)
    values = values.to_numpy(zero_copy_only=False)  # a null float becomes NaN
    if pa.types.is_fixed_size_list(array.type):
        offsets = (np.arange(len(array) + 1) + array.offset) * array.type.list_size
    else:
        offsets = array.offsets.to_numpy()
    shape = config.data.pixel_shape

    def load(index: int) -> np.ndarray:
        _checked(is_valid, index)
        pixels = values[offsets[index] : offsets[index + 1]]
        if len(pixels) != np.prod(shape):
            raise RejectedError("wrong_channels", f"{len(pixels)} values; data.pixel_shape is {shape}")
        pixels = pixels.reshape(shape)
        if is_known is not None and not (known := is_known[offsets[index] : offsets[index + 1]]).all():
            repaired = repair_pixels(np.where(known.reshape(shape), pixels, np.nan), config.missing)
            pixels = np.rint(repaired)
        elif values.dtype.kind == "f":
            return repair_pixels(pixels, config.missing)
        return _as_integers(pixels, np.uint16 if values.dtype == np.uint16 else np.uint8)

    return load


def _checked(is_valid: np.ndarray, index: int) -> int:
    if not is_valid[index]:
        raise RejectedError("missing_image", "the image is null")
    return index


def _as_integers(pixels: np.ndarray, kind: type[np.unsignedinteger]) -> np.ndarray:
    least, most, limit = pixels.min(), pixels.max(), np.iinfo(kind).max
    if least < 0 or most > limit:
        raise RejectedError("undecodable", f"integers of {least:.0f} to {most:.0f}; expected 0 to {limit}")
    return pixels.astype(kind, copy=False)


def _read_pieces(
    config: Config, pieces: pa.Table, kinds: dict[str, str], num_rows: int, with_images: bool
) -> Iterator[pa.Table]:
    root, wanted = table_root(config), wanted_columns(config, with_images=with_images)
    for path, of_file in groupby(pieces.to_pylist(), key=lambda piece: piece["path"]):
        runs = list(of_file)
        footer = read_footer(root, path)
        if (footer.num_bytes, footer.sha256) != (runs[0]["num_bytes"], runs[0]["footer"]):
            raise DataError(f"{root / path} changed since it was listed; run again when nobody changes data.path")
        folders = {name: value for name, value in folder_values(path).items() if name in wanted}
        columns = sorted(wanted - set(folders))
        for piece in runs:
            for row, batch in _batches(root / path, piece, columns, num_rows):
                table = pa.Table.from_batches([batch])
                for name, value in folders.items():
                    table = table.append_column(name, _constant(value, kinds[name], table.num_rows))
                yield convert_rows(config, table, path, row, kinds, with_images=with_images)


def wanted_columns(config: Config, *, with_images: bool) -> set[str]:
    """The names that a config uses."""
    data = config.data
    names = {data.label_column, data.id_column, data.split_column, *data.keep_columns}
    for rule in config.missing.columns.values():
        names |= {rule.order_by, *rule.group_by} if rule.policy == "interpolate" else set()
    return (names | ({data.image_column} if with_images else set())) - {""}


def _batches(
    path: Path, piece: dict[str, Any], columns: list[str], num_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of one piece, with the number in the file of the first row of each batch."""
    if not columns:  # everything that is wanted stands in the path
        yield piece["first_row"] + piece["start"], pa.record_batch([pa.nulls(piece["stop"] - piece["start"])], [""])
        return
    try:
        with path.open("rb") as source:
            file = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES)
            if piece["start"] == 0:  # once for every row group
                check_pages(path, source, file.metadata, piece["row_group"], columns)
            at = 0
            for batch in file.iter_batches(
                num_rows, row_groups=[piece["row_group"]], columns=columns, use_threads=False
            ):
                first, stop = max(piece["start"] - at, 0), min(piece["stop"] - at, batch.num_rows)
                if first < stop:
                    yield piece["first_row"] + at + first, batch.slice(first, stop - first)
                at += batch.num_rows
                if at >= piece["stop"]:
                    return
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone since it was listed; run again when nobody changes data.path") from error
    except (OSError, pa.ArrowException, MemoryError) as error:
        raise DataError(
            f"{path}, row group {piece['row_group']}: {one_line(error)}; the file is damaged: replace or remove it"
        ) from error
    raise DataError(
        f"{path}, row group {piece['row_group']} holds {at} rows, its footer says {piece['stop']} or more; "
        f"the file is damaged: replace or remove it"
    )


def _constant(value: str | None, kind: str, num_rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(num_rows, SIDE_TYPES[kind])
    typed = int(value) if kind == "int64" else date.fromisoformat(value) if kind == "date32[day]" else value
    return pa.repeat(pa.scalar(typed, SIDE_TYPES[kind]), num_rows)


def convert_rows(
    config: Config, table: pa.Table, path: str, row: int, kinds: dict[str, str], *, with_images: bool
) -> pa.Table:
    """What `read_rows` returns, from rows as they stand in a file.

    Args:
        config: sections data and missing.
        table: the columns of `wanted_columns`.
        path: of the file.
        row: the number in the file of the first one.
        kinds: column -> type, as `plain_type` names it.
        with_images: whether image_column holds images.

    Raises:
        DataError: an id is null, or a split is none; names the row.
    """
    data = config.data
    numbers = pa.array(np.arange(row, row + table.num_rows)).cast(pa.string())
    source = pa.chunked_array([pc.binary_join_element_wise(path, numbers, "#")])
    names = _class_names(config, table[data.label_column])
    side = {name: _plain(table[name], kinds[name]) for name in data.keep_columns}
    reason, detail = _rejections(config, names, side, is_integer(kinds[data.label_column]))
    columns = {
        "image_id": _ids(table, data.id_column, source),
        "source": source,
        "split": _splits(config, table, source),
        "class_name": names,
        "reason": reason,
        "detail": detail,
        **({"image": _image(table[data.image_column])} if with_images else {}),
        **{f"{SIDE}{name}": column for name, column in side.items()},
    }
    for name, rule in config.missing.columns.items():
        if rule.policy == "interpolate":
            order = _plain(table[rule.order_by], kinds[rule.order_by])
            columns[f"{ORDER}{name}"] = nan_to_null(as_numbers(order).cast(pa.float64(), safe=False))
            groups = [table[group].cast(pa.string()) for group in rule.group_by] or [pa.nulls(len(source), pa.string())]
            joined = [*(pc.fill_null(group, "\1") for group in groups), "\0"]
            columns[f"{GROUP}{name}"] = pc.binary_join_element_wise(*joined)
    return pa.table(columns)


def _image(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """In one type, whichever the file has: batches are made of several files."""
    if pa.types.is_fixed_size_list(column.type):
        return column
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    return column.cast(pa.large_list(column.type.value_type) if is_list else pa.large_binary())


def _plain(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    # Nanoseconds are cut to the microseconds that Spark reads.
    return column if plain_type(column.type) == kind == str(column.type) else column.cast(SIDE_TYPES[kind], safe=False)


def _class_names(config: Config, labels: pa.ChunkedArray) -> pa.ChunkedArray:
    names = labels.cast(pa.string())
    # Not if_else on the strings themselves: Arrow 14 returns other strings for the middle of an array.
    places = pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.int64()), pa.array(np.arange(len(names))))
    names = names.take(places)
    return names if config.missing.label == "drop" else pc.fill_null(names, config.missing.label)


def _ids(table: pa.Table, name: str, source: pa.ChunkedArray) -> pa.ChunkedArray:
    if not name:
        return source
    ids = table[name].cast(pa.string())
    if ids.null_count:
        at = ids.is_null().index(True).as_py()
        raise DataError(f"data.id_column = {name!r} is null in row {source[at].as_py()}; every row needs an id")
    return ids


def _splits(config: Config, table: pa.Table, source: pa.ChunkedArray) -> pa.ChunkedArray:
    name = config.data.split_column
    if not name:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    given = pc.utf8_lower(table[name].cast(pa.string()))
    places = pc.index_in(given, value_set=pa.array(list(SPLIT_FOLDERS)))
    bad = pc.and_(places.is_null(), given.is_valid()).index(True).as_py()
    if bad >= 0:
        raise DataError(
            f"data.split_column = {name!r} is {table[name][bad].as_py()!r} in row {source[bad].as_py()}; "
            f"expected {', '.join(SPLIT_FOLDERS)} or null"
        )
    return pa.chunked_array([pa.array(list(SPLIT_FOLDERS.values())).take(places.combine_chunks())])


def _rejections(
    config: Config, names: pa.ChunkedArray, side: dict[str, pa.ChunkedArray], whole_labels: bool
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Reason and detail of rows that are rejected whatever their image is; the first that applies."""
    found = [(names.is_null(), "missing_label", "the label is null or empty")]
    if whole_labels:
        found.append((pc.starts_with(names, "-"), "unknown_label", "the label is negative"))
    for name, rule in config.missing.columns.items():
        if rule.policy == "drop":
            found.append((nan_to_null(side[name]).is_null(), "missing_value", f"column {name!r} is null or NaN"))
    none = pa.scalar(None, pa.string())
    reasons, details = (
        pc.coalesce(*(pc.if_else(mask, texts[place], none) for mask, *texts in found)) for place in (0, 1)
    )
    return reasons, details
