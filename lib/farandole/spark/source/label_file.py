"""The file of a label table as an Arrow table: CSV with a header, JSON with an object per line, or Parquet.

What people's tools write instead is named as what it is: another encoding, other separators, one JSON object for all
files, a quote that nothing closes.
"""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from farandole.config.data import Data
from farandole.errors import DataError
from farandole.log import say
from farandole.spark.source.table.files import one_line

_ENCODINGS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\3\4": "a workbook, or another archive",
    b"\x1f\x8b": "compressed",
}
"""By the first bytes, the longer ones first."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def is_csv(path: Path) -> bool:
    """Whether a label table is CSV, by its name: labels.csv, LABELS.CSV."""
    return path.suffix.lower() == ".csv"


def read_label_file(data: Data, path: Path) -> pa.Table:
    """All columns that have a name.

    Args:
        data: in CSV the columns that it names are texts, whatever they look like.
        path: of the table.

    Raises:
        DataError: it is neither, or a value that is used goes over several lines; names what was found.
    """
    kind, read = _KINDS[path.suffix.lower()]
    content = b""
    try:
        content = path.read_bytes()
        other = _other_kind(data, content, path)
        if other:
            raise DataError(f"data.label_table {str(path)!r} is not {kind}: {other}")
        size = min(max(len(content), 1), 2**31 - 1)  # one block, so that a column's type follows from all rows
        table = read(data, content, size)
        table.validate(full=True)  # JSON is read without a look at its UTF-8
        table = table.rename_columns(table.schema.names)  # fails for names that are no UTF-8
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        said = _other_letters(content, path) or one_line(error)
        raise DataError(f"data.label_table {str(path)!r} is not {kind}: {said}") from error
    # Nameless: an index, or what follows commas at the end of lines. Nobody can ask for them.
    table = table.select([index for index, name in enumerate(table.schema.names) if name])
    if is_csv(path):
        _look_for_open_quotes(data, table, path, content)
    return table


def _other_kind(data: Data, content: bytes, path: Path) -> str | None:
    """What the file is instead, where its first bytes tell."""
    if path.suffix.lower() == ".parquet":
        return None
    mark = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), None)
    if mark or b"\0" in content[:4096]:
        return f"it is {mark or 'UTF-16 without a byte order mark, or no text'}; save it as UTF-8"
    return _other_header(data, content) if is_csv(path) else _one_value(data, content)


def _other_letters(content: bytes, path: Path) -> str | None:
    """Where a file that Arrow cannot read is no UTF-8; in a column that nobody uses that is no matter."""
    try:
        if path.suffix.lower() != ".parquet":
            content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        around = content[max(error.start - 10, 0) : error.start + 10]
        return f"line {line} is no UTF-8, {around!r}: it has another encoding, such as Windows-1252; save it as UTF-8"
    return None


def _other_header(data: Data, content: bytes) -> str | None:
    header = content.splitlines()[0].decode("utf-8-sig", "replace") if content else ""
    if header.lower().startswith("sep="):
        return f"its first line is {header!r}, which spreadsheets alone know; remove it, and part fields by commas"
    for sign, name in _SEPARATORS.items():
        fields, by_commas = ([field.strip('" ') for field in header.split(mark)] for mark in (sign, ","))
        if len(fields) > 1 and (len(by_commas) == 1 or data.image_column in set(fields) - set(by_commas)):
            return f"its fields are parted by {name}; part them by commas"
    return None


def _one_value(data: Data, content: bytes) -> str | None:
    """Told apart before Arrow makes a column of each key, which takes minutes."""
    try:
        text = content.decode("utf-8-sig").strip()
        found, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    if end < len(text) or not isinstance(found, dict | list) or _is_row(found, data.image_column):
        return None
    what = f"object of {len(found)} keys, such as {next(iter(found))!r}" if isinstance(found, dict) else "list"
    return (
        f"it is one {what}; "
        f"give each image a line, {{{json.dumps(data.image_column)}: PATH, {json.dumps(data.label_column)}: CLASS}}"
    )


def _is_row(found: dict[str, Any] | list[Any], name: str) -> bool:
    """Not where it has all images of a column in one value, as pandas writes them by columns."""
    return isinstance(found, dict) and (not found or not isinstance(found.get(name, {}), dict | list))


def _read_csv(data: Data, content: bytes, block_size: int) -> pa.Table:
    # Not left to be guessed: "007" is no number, and "true" may be a class.
    return pa.csv.read_csv(
        pa.py_buffer(content),
        read_options=pa.csv.ReadOptions(block_size=block_size),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(_text_columns(data), pa.string())),
    )


def _read_json(data: Data, content: bytes, block_size: int) -> pa.Table:
    options = pa.json.ReadOptions(block_size=block_size)
    table = pa.json.read_json(pa.py_buffer(content), read_options=options)
    # JSON has no times: they are texts that look like such, and may be labels. Numbers stay numbers.
    dated = [name for name in _text_columns(data) if name in table.schema.names and _is_time(table.schema, name)]
    if not dated:
        return table
    schema = pa.schema([(name, pa.string()) for name in dated])
    return pa.json.read_json(
        pa.py_buffer(content), read_options=options, parse_options=pa.json.ParseOptions(explicit_schema=schema)
    )


def _is_time(schema: pa.Schema, name: str) -> bool:
    return any(pa.types.is_temporal(schema.field(index).type) for index in schema.get_all_field_indices(name))


def _read_parquet(data: Data, content: bytes, block_size: int) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content), coerce_int96_timestamp_unit="us", page_checksum_verification=True)
    return file.read()


_KINDS = {
    ".csv": ("CSV with a header", _read_csv),
    ".json": ("JSON with an object per line", _read_json),
    ".jsonl": ("JSON with an object per line", _read_json),
    ".parquet": ("Parquet", _read_parquet),
}
"""By the ending of the name, which the config has checked."""


def _text_columns(data: Data) -> list[str]:
    return [data.image_column, data.label_column, data.id_column, data.split_column]


def _look_for_open_quotes(data: Data, table: pa.Table, path: Path, content: bytes) -> None:
    """A value takes in all rows up to the next quote. No path and no class has several lines, other texts may: there it
    is a warning, where one of the lines looks like a row."""
    for name in table.schema.names:
        if table.schema.names.count(name) > 1 or not pa.types.is_string(table[name].type):
            continue
        used, num_commas = name in _text_columns(data), table.num_columns - 1
        pattern = r"[\r\n]" if used else rf"[\r\n]([^,\r\n]*,){{{num_commas}}}[^,\r\n]*(\r|\n|$)"
        at = pc.match_substring_regex(table[name], pattern).index(True).as_py()
        if at < 0:
            continue
        value = table[name][at].as_py()
        said = (
            f"label table {str(path)!r}, line {_line_of(value, content)}: {name!r} goes on over "
            f"{len(value.splitlines())} lines, {value[:60]!r}; is a quote not closed?"
        )
        if used:
            raise DataError(f"{said} close it, or double it where it belongs to the text")
        say(f"preprocess: warning: {said}")


def _line_of(value: str, content: bytes) -> int:
    """Where a value begins; by its first line and what follows, up to a quote, which may have been doubled."""
    parts = re.match(r'[^\r\n"]*[\r\n]+[^\r\n"]*', value)
    return content[: max(content.find((parts[0] if parts else value).encode()), 0)].count(b"\n") + 1
