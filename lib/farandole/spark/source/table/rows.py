"""Rows of a partitioned Parquet table, as tables of records."""

import json
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farandole.config.data import Data, Missing
from farandole.core.dataset.schema import SIDE_TYPES
from farandole.core.record.missing import as_order, nan_to_null
from farandole.errors import DataError
from farandole.spark.source.folder import SPLIT_FOLDERS
from farandole.spark.source.table.column_types import is_whole, take_column
from farandole.spark.source.table.columns import wanted_columns
from farandole.spark.source.table.common_columns import folder_values
from farandole.spark.source.table.files import one_line, read_footer, table_root, verdict
from farandole.spark.source.table.values import class_names, compare_with_folder, image_values, plain_values

SIDE, ORDER, GROUP = "side:", "order:", "group:"
"""Prefixes here and in staging/parts: a kept column, and what its interpolation goes along and stays inside."""
_BUFFER_BYTES = 1024 * 1024


def read_pieces(
    data: Data,
    missing: Missing,
    pieces: pa.Table,
    num_rows: int,
    *,
    with_images: bool = True,
    fill_labels: bool = True,
) -> Iterator[pa.Table]:
    """The rows of some pieces in their order, `num_rows` at a time, the last batch shorter.

    Args:
        data, missing: which columns are what, and what is done about nulls in them.
        pieces: of `list_table`, with its metadata.
        num_rows: of a batch.
        with_images: whether to read them.
        fill_labels: whether a null label becomes missing.label; false rejects its row, whatever the policy.

    Returns:
        Tables with id, source, split, class_name, reason and detail (null unless the row is rejected), image,
        and for kept columns those with the prefixes SIDE, ORDER and GROUP.

    Raises:
        DataError: a file is gone, changed or damaged, an id is null, or a split is none; names the file.
    """
    kinds = json.loads(pieces.schema.metadata[b"columns"])
    pending: list[pa.Table] = []
    for table in _read_files(data, missing, pieces, kinds, num_rows, with_images, fill_labels):
        pending.append(table)
        if sum(part.num_rows for part in pending) >= num_rows:
            whole = pa.concat_tables(pending)
            yield whole.slice(0, num_rows)
            pending = [whole.slice(num_rows)]
    if sum(part.num_rows for part in pending):
        yield pa.concat_tables(pending)


def _read_files(
    data: Data,
    missing: Missing,
    pieces: pa.Table,
    kinds: dict[str, str],
    num_rows: int,
    with_images: bool,
    fill_labels: bool,
) -> Iterator[pa.Table]:
    root, wanted = table_root(data), wanted_columns(data, missing, with_images=with_images)
    for path, of_file in groupby(pieces.to_pylist(), key=lambda piece: piece["path"]):
        runs = list(of_file)
        footer = read_footer(root, path)
        if (footer.num_bytes, footer.sha256) != (runs[0]["num_bytes"], runs[0]["footer"]):
            raise DataError(f"{root / path} changed since it was listed; run again when nobody changes data.path")
        given = {name: value for name, value in folder_values(path).items() if name in wanted}
        folders = {name: value for name, value in given.items() if name not in footer.columns}
        columns = sorted(wanted - set(folders))
        for piece in runs:
            for row, batch in _batches(root / path, piece, columns, num_rows):
                table = pa.Table.from_batches([batch])
                for name in given.keys() - folders.keys():
                    compare_with_folder(take_column(table, name), name, given[name], f"{path}#{row}")
                for name, value in folders.items():
                    table = table.append_column(name, _constant(value, kinds[name], table.num_rows))
                yield convert_rows(
                    data, missing, table, path, row, kinds, with_images=with_images, fill_labels=fill_labels
                )


def _batches(
    path: Path, piece: dict[str, Any], columns: list[str], num_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of one piece, with the number in the file of the first row of each batch."""
    if not columns:  # everything that is wanted stands in the path
        yield piece["first_row"] + piece["start"], pa.record_batch([pa.nulls(piece["stop"] - piece["start"])], [""])
        return
    try:
        with path.open("rb") as source:
            # Pages are compared with their CRC32 where the writer stored one, as Spark does.
            file = pq.ParquetFile(
                source, buffer_size=_BUFFER_BYTES, page_checksum_verification=True, coerce_int96_timestamp_unit="us"
            )
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
            f"{path}, row group {piece['row_group']}: {one_line(error)}; {verdict(error, 'the file is damaged')}"
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
    data: Data,
    missing: Missing,
    table: pa.Table,
    path: str,
    row: int,
    kinds: dict[str, str],
    *,
    with_images: bool,
    fill_labels: bool = True,
) -> pa.Table:
    """What `read_pieces` returns, from rows as they stand in a file.

    Args:
        data, missing: as there.
        table: the columns of `wanted_columns`.
        path: of the file.
        row: the number in the file of the first one.
        kinds: column -> type, as `plain_type` names it.
        with_images: whether image_column holds images.
        fill_labels: as there.

    Raises:
        DataError: an id is null, or a split is none; names the row.
    """
    numbers = pa.array(np.arange(row, row + table.num_rows)).cast(pa.string())
    source = pa.chunked_array([pc.binary_join_element_wise(path, numbers, "#")])
    names = class_names(take_column(table, data.label_column))
    names = pc.fill_null(names, missing.label) if fill_labels and missing.label != "drop" else names
    side = {name: _plain(table, name, kinds, path) for name in data.keep_columns}
    reason, detail = _rejections(missing, names, side, is_whole(kinds[data.label_column]))
    columns = {
        "id": _ids(table, data.id_column, source),
        "source": source,
        "split": _splits(table, data.split_column, source),
        "class_name": names,
        "reason": reason,
        "detail": detail,
        **(
            {"image": image_values(take_column(table, data.image_column), kinds[data.image_column])}
            if with_images
            else {}
        ),
        **{f"{SIDE}{name}": column for name, column in side.items()},
    }
    for name, rule in missing.columns.items():
        if rule.policy == "interpolate":
            order = take_column(table, rule.order_by)
            order = order if pa.types.is_timestamp(order.type) else _plain(table, rule.order_by, kinds, path)
            columns[f"{ORDER}{name}"] = as_order(order, kinds[rule.order_by])
            groups = [take_column(table, group).cast(pa.string()) for group in rule.group_by] or [
                pa.nulls(len(source), pa.string())
            ]
            joined = [*(pc.fill_null(group, "\1") for group in groups), "\0"]
            columns[f"{GROUP}{name}"] = pc.binary_join_element_wise(*joined)
    return pa.table(columns)


def _plain(table: pa.Table, name: str, kinds: dict[str, str], path: str) -> pa.ChunkedArray:
    return plain_values(take_column(table, name), kinds[name], f"{path}: column {name!r}")


def _ids(table: pa.Table, name: str, source: pa.ChunkedArray) -> pa.ChunkedArray:
    if not name:
        return source
    ids = take_column(table, name).cast(pa.string())
    if ids.null_count:
        at = ids.is_null().index(True).as_py()
        raise DataError(f"data.id_column = {name!r} is null in row {source[at].as_py()}; every row needs an id")
    return ids


def _splits(table: pa.Table, name: str, source: pa.ChunkedArray) -> pa.ChunkedArray:
    if not name:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    given = pc.utf8_lower(take_column(table, name).cast(pa.string()))
    places = pc.index_in(given, value_set=pa.array(list(SPLIT_FOLDERS)))
    bad = pc.and_(places.is_null(), given.is_valid()).index(True).as_py()
    if bad >= 0:
        raise DataError(
            f"data.split_column = {name!r} is {take_column(table, name)[bad].as_py()!r} in row {source[bad].as_py()}; "
            f"expected {', '.join(SPLIT_FOLDERS)} or null"
        )
    return pa.chunked_array([pa.array(list(SPLIT_FOLDERS.values())).take(places.combine_chunks())])


def _rejections(
    missing: Missing, names: pa.ChunkedArray, side: dict[str, pa.ChunkedArray], whole_labels: bool
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Reason and detail of rows that are rejected whatever their image is; the first that applies."""
    found = [(names.is_null(), "missing_label", "the label is null or empty")]
    if whole_labels:
        found.append((pc.starts_with(names, "-"), "unknown_label", "the label is negative"))
        is_digits = pc.match_substring_regex(names, r"^\d+$")
        found.append((pc.invert(is_digits), "unknown_label", "the label is no whole number"))
    for name, rule in missing.columns.items():
        if rule.policy == "drop":
            found.append((nan_to_null(side[name]).is_null(), "missing_value", f"column {name!r} is null or NaN"))
    none = pa.scalar(None, pa.string())
    reasons, details = (
        pc.coalesce(*(pc.if_else(mask, texts[place], none) for mask, *texts in found)) for place in (0, 1)
    )
    return reasons, details
