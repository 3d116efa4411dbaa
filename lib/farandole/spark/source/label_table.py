"""Labels from a table beside a folder of images: CSV with a header, or JSON with an object per line.

Every row of the table is a record, and so is every file that no row names. Rows that name the same file are the same
picture, so the rule for equal pictures decides: one is kept, or none where their labels differ. Nothing is opened by a
path from the table unless the folder's own listing has it.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from farandole.config.data import Data, Missing
from farandole.errors import ConfigError, DataError, FarandoleError
from farandole.spark.source.file_names import find_names, normal_path
from farandole.spark.source.folder import check_folder, reject_file, walk
from farandole.spark.source.label_file import is_csv, read_label_file
from farandole.spark.source.listing import LISTING, escape_name, list_row
from farandole.spark.source.table.column_types import plain_type
from farandole.spark.source.table.columns import check_columns, check_fill, refuse_repeated_ids, wanted_columns
from farandole.spark.source.table.common_columns import text_type
from farandole.spark.source.table.rows import convert_rows
from farandole.spark.source.table.values import class_names

_MAX_NAMED = 20
_Files = dict[str, os.stat_result | None]


def list_labelled(data: Data, missing: Missing) -> pa.Table:
    """Joins the rows of data.label_table with the files below data.path, without reading an image.

    Null labels follow missing.label; a file without a row is always rejected as missing_label, a row without a file as
    missing_image. Without data.id_column a record's id is its path, and PATH//2 for the second row that names it.

    Returns:
        A table of schema LISTING, then kept columns and what interpolation needs, as `table.rows.convert_rows` gives
        them. The metadata's "columns" maps the names used to types. class_name is null where reason is not.

    Raises:
        ConfigError: data.path or the table does not exist, a column is missing, or missing.label is no class.
        DataError: the table is not CSV or JSON lines, has no rows or a column of a type that is no use, an id is null
            or occurs twice, or a split is none.
    """
    root = Path(data.path)
    check_folder(root)
    path = root / data.label_table
    table, kinds = _read_checked(data, missing, path)
    own_name = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    files: _Files = {name: status for name, status in walk(root) if name != own_name}
    inside = f"{normal_path(str(root))}/"
    given = [normal_path(name or "").removeprefix(inside) for name in table[data.image_column].to_pylist()]
    names = find_names(given, files)
    named = set(names)
    orphan = min((name for name in files if name not in named), default=None)
    rows = _labelled_rows(data, missing, table, kinds, names, files, _no_file(orphan))
    orphans = [
        list_row(escape_name(name), status=status, rejection=reject_file(name, status) or _NO_ROW)
        for name, status in files.items()
        if name not in named
    ]
    listing = pa.concat_tables([rows, pa.Table.from_pylist(orphans, schema=LISTING)], promote_options="default")
    _check_ids(data, listing)
    metadata = {"columns": json.dumps(kinds, sort_keys=True)}
    return listing.sort_by("id").combine_chunks().replace_schema_metadata(metadata)


def _no_file(orphan: str | None) -> tuple[str, str]:
    """Why a row is rejected whose file is not there; a name beside it shows how names should be spelled."""
    beside = f"; the folder has {escape_name(orphan)!r}, which no row names" if orphan else ""
    return "missing_image", f"there is no such file{beside}"


_NO_ROW = ("missing_label", "no row of the label table names the file")


def _read_checked(data: Data, missing: Missing, path: Path) -> tuple[pa.Table, dict[str, str]]:
    """The columns that are used, and their types."""
    if not path.exists():
        raise ConfigError(f"data.label_table {str(path)!r} does not exist; paths are relative to data.path")
    table = read_label_file(data, path)
    all_names = table.schema.names
    try:
        repeated = {name for name, number in Counter(all_names).items() if number > 1}
        if repeated & wanted_columns(data, missing, with_images=True):
            raise DataError("a name that is used stands twice in the header; rename one")
        names = [name for name in all_names if name not in repeated]
        table = table.select(names)
        for index, name in enumerate(names):
            if pa.types.is_string(table[name].type):
                table = table.set_column(index, name, _empty_to_null(table[name]))
        kinds = {name: plain_type(table[name].type) for name in names}
        check_columns(data, missing, kinds)
        if not table.num_rows:
            raise DataError("it has no rows")
    except FarandoleError as error:
        raise type(error)(f"label table {str(path)!r}, whose columns are {_some(all_names)}: {error}") from error
    wanted = sorted(wanted_columns(data, missing, with_images=True))
    table = table.select(wanted).combine_chunks()
    label = data.label_column
    if kinds[label] == "string" and is_csv(path):
        # Whole numbers that pandas made floats of, as some are missing.
        texts = [text and re.sub(r"(?<=\d)\.0+$", "", text) for text in table[label].to_pylist()]
        if text_type(set(texts)) == "int64":
            table = table.set_column(wanted.index(label), label, pa.array(texts, pa.string()).cast(pa.int64()))
    return table, {name: plain_type(table[name].type) for name in wanted}


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (f", ... ({len(names)} in all)" if len(names) > _MAX_NAMED else "")


def _empty_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = column.combine_chunks()
    places = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.int64()), pa.array(range(len(column)), pa.int64()))
    return pa.chunked_array([column.take(places)])


def _labelled_rows(
    data: Data,
    missing: Missing,
    table: pa.Table,
    kinds: dict[str, str],
    names: list[str],
    files: _Files,
    no_file: tuple[str, str],
) -> pa.Table:
    converted = convert_rows(data, missing, table, data.label_table, 0, kinds, with_images=False)
    own_ids = converted["id"].to_pylist() if data.id_column else _ids(names)
    listed = [
        list_row(
            record_id,
            source=name,
            split=split,
            class_name=class_name,
            status=files.get(name),
            rejection=_reject_path(name, files, no_file) or ((reason, detail) if reason else None),
        )
        for record_id, name, split, class_name, reason, detail in zip(
            own_ids,
            names,
            *(converted[column].to_pylist() for column in ("split", "class_name", "reason", "detail")),
            strict=True,
        )
    ]
    _check_fill(data, missing, table, listed)
    for row in listed:
        row["class_name"] = None if row["reason"] else row["class_name"]
    rows = pa.Table.from_pylist(listed, schema=LISTING)
    for name in converted.schema.names:
        if name not in LISTING.names:
            rows = rows.append_column(name, converted[name])
    return rows


def _check_fill(data: Data, missing: Missing, table: pa.Table, listed: list[dict[str, Any]]) -> None:
    """The class that is filled in must be there without that."""
    labels = class_names(table[data.label_column]).to_pylist()
    check_fill(missing, {label for label, row in zip(labels, listed, strict=True) if label and not row["reason"]})


def _ids(names: list[str]) -> list[str]:
    """Paths; PATH//N for the Nth row that has one path, //N where it is empty. No path has "//" in it."""
    seen: Counter[str] = Counter()
    ids = []
    for name in names:
        seen[name] += 1
        ids.append(name if name and seen[name] == 1 else f"{name}//{seen[name]}")
    return ids


def _reject_path(name: str, files: _Files, no_file: tuple[str, str]) -> tuple[str, str] | None:
    if not name:
        return "missing_image", "the path is null or empty"
    if name.startswith("/") or ".." in name.split("/"):
        return "unsafe_path", "an absolute path that does not lie in data.path, or one with .."
    if name not in files:
        return no_file
    return reject_file(name, files[name])


def _check_ids(data: Data, listing: pa.Table) -> None:
    counts = pc.value_counts(listing["id"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        refuse_repeated_ids(data, len(twice), min(twice))
