"""The files of a partitioned Parquet table: their footers, the one schema they must share, and who reads which rows.

Only footers are read here. Files and folders whose names start with "_" or "." are no data, as in Spark and Arrow.
"""

import glob
import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_ISREG
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from farandole.config.data import Data, Missing
from farandole.core.dataset.parquet import footer_bytes
from farandole.core.plan.layout import runs_within, split_evenly
from farandole.errors import ConfigError, DataError
from farandole.spark.source.folder import walk
from farandole.spark.source.listing import escape_name
from farandole.spark.source.table_columns import check_columns, plain_type

PIECES = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),  # the task that reads it
        pa.field("path", pa.string(), nullable=False),  # relative to `table_root`
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("first_row", pa.int64(), nullable=False),  # of the row group, in its file
        pa.field("start", pa.int64(), nullable=False),  # first row to read, in the row group
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # of the file
        pa.field("footer", pa.string(), nullable=False),  # its SHA-256
        pa.field("modified_ns", pa.int64(), nullable=False),  # time of change; no part of the fingerprint
    ]
)
"""One row per run of rows in one row group, in the order of paths. The metadata's "columns" maps names to types."""

ROWS_PER_PART = 2048
"""Of one task."""
MAX_PIECES = 16
"""Of a row group: a task that starts inside one reads past what precedes its rows."""
TABLE_LOGS = {"delta": "_delta_log", "hudi": ".hoodie", "iceberg": "metadata/*.metadata.json"}
"""Spark's name of a table format -> where such a table, in its own folder, keeps which of its rows are valid."""
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_NUM_THREADS, _MAX_NAMED, _HIDDEN = 16, 5, ("_", ".")


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    path: str
    num_bytes: int
    sha256: str
    modified_ns: int
    columns: dict[str, str]
    row_groups: list[int]


def table_root(data: Data) -> Path:
    """The folder that paths are relative to: data.path, or the folder of the one file that it names."""
    root = Path(data.path)
    return root.parent if root.is_file() else root


def list_table(data: Data, missing: Missing) -> pa.Table:
    """Reads the footers of all files, checks that they agree, and deals their rows to tasks.

    Returns:
        A table of schema PIECES.

    Raises:
        ConfigError: data.path does not exist, or a column that the config names does not.
        DataError: there are no files or no rows, a Delta, Hudi or Iceberg table lies around data.path, in it or below
            it, a file is not readable Parquet, files differ in their columns, or a column has a type that is no use.
    """
    root, paths = table_root(data), _paths(data)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        footers = list(pool.map(lambda path: read_footer(root, path), paths))
    columns = _common_columns(data, footers)
    check_columns(data, missing, columns)
    pieces = _pieces(footers)
    if not pieces["part"]:
        raise DataError(f"data.path {data.path!r} holds {len(footers)} Parquet files, but no rows")
    return pa.table(pieces, schema=PIECES.with_metadata({"columns": json.dumps(columns)}))


def pieces_fingerprint(pieces: pa.Table) -> str:
    """SHA-256, as 64 hex digits, of the paths, sizes and footers of all files."""
    rows = zip(*(pieces[name].to_pylist() for name in ("path", "num_bytes", "footer")), strict=True)
    text = "\0".join(f"{path}\0{num_bytes}\0{footer}" for path, num_bytes, footer in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def one_line(error: BaseException) -> str:
    """What Arrow says, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def folder_values(path: str) -> dict[str, str | None]:
    """The KEY=VALUE folders of a relative path, as Hive and Spark write them."""
    pairs = (folder.split("=", 1) for folder in path.split("/")[:-1] if "=" in folder)
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, value in pairs}


def read_footer(root: Path, path: str) -> Footer:
    """Of root/path.

    Raises:
        DataError: the file is gone, or is not readable Parquet.
    """
    try:
        with (root / path).open("rb") as source:
            num_bytes, modified_ns = source.seek(0, 2), os.fstat(source.fileno()).st_mtime_ns
            sha256 = hashlib.sha256(footer_bytes(source)).hexdigest()
            source.seek(0)
            file = pq.ParquetFile(source)  # not ours, and looked at anew each time: no manifest knows what it holds
            columns = {field.name: plain_type(field.type) for field in file.schema_arrow}
            row_groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    except FileNotFoundError as error:
        raise DataError(
            f"{root / path} is gone since it was listed; run again when nobody changes data.path"
        ) from error
    except (OSError, pa.ArrowException, MemoryError) as error:
        raise DataError(
            f"{root / path} is not a readable Parquet file: {one_line(error)}; it is cut off or damaged: "
            f"replace or remove it"
        ) from error
    return Footer(path, num_bytes, sha256, modified_ns, columns, row_groups)


def _paths(data: Data) -> list[str]:
    given = Path(data.path)
    if not given.exists():
        raise ConfigError(f"data.path {str(given)!r} does not exist; give the folder that holds the Parquet files")
    walked = [] if given.is_file() else list(walk(given))
    _refuse_logged(data, [path for path, _ in walked])
    if given.is_file():
        return [given.name]
    found = [pair for pair in walked if not any(name.startswith(_HIDDEN) for name in pair[0].split("/"))]
    paths = [path for path, _ in found]
    # A named pipe would be waited for; a file that has vanished is told by read_footer.
    strange = [path for path, status in found if not path.isprintable() or (status and not S_ISREG(status.st_mode))]
    if strange:
        raise DataError(
            f"{strange[0]!r} in data.path is a link or no file, or has an unsafe name; replace or rename it"
        )
    if not paths:
        raise DataError(f"data.path {str(given)!r} holds no Parquet files")
    return sorted(paths)


def _refuse_logged(data: Data, paths: list[str]) -> None:
    """Refuses Delta, Hudi and Iceberg tables: beside their valid files lie those of deleted and of replaced rows.

    Args:
        data: its path may also lie inside such a table, as the folder of a partition does.
        paths: of all files below data.path, hidden ones too, so that nothing has to be listed again.
    """
    root = Path(data.path).resolve()
    # What lies in a hidden folder is not read, be it a whole table: nothing behind the first hidden name counts.
    below = sorted({_up_to_hidden(path) for path in paths})
    for kind, log in TABLE_LOGS.items():
        found = [folder / name for folder in root.parents for name in glob.glob(log, root_dir=folder)]
        found += [root / path for path in below if fnmatchcase(f"/{path}", f"*/{log}")]
        if found:
            name, table = escape_name(str(found[0])), escape_name(str(found[0].parents[log.count("/")]))
            raise DataError(
                f"data.path {data.path!r} holds files of a {kind.capitalize()} table, those of deleted and "
                f"replaced rows, too: {name!r} was found; write the version that you want as plain Parquet, with "
                f"spark.read.format({kind!r}).load({table!r}).write.parquet(FOLDER), and give that FOLDER"
            )


def _up_to_hidden(path: str) -> str:
    """The path down to its first hidden name, or all of it."""
    names = path.split("/")
    return next(("/".join(names[: end + 1]) for end, name in enumerate(names) if name.startswith(_HIDDEN)), path)


def _common_columns(data: Data, footers: list[Footer]) -> dict[str, str]:
    """Name -> type of the columns that all files have, KEY=VALUE folders last."""
    shapes = [
        (*sorted(footer.columns.items()), *((key, "folder") for key in folder_values(footer.path)))
        for footer in footers
    ]
    usual = dict(Counter(shapes).most_common(1)[0][0])
    different = [
        f"{footer.path} {_difference(dict(shape), usual)}"
        for footer, shape in zip(footers, shapes, strict=True)
        if dict(shape) != usual or len(dict(shape)) != len(shape)
    ]
    if different:
        raise DataError(
            f"{len(different)} of {len(footers)} files in data.path {data.path!r} differ from the others: "
            f"{'; '.join(different[:_MAX_NAMED])}{'; ...' if len(different) > _MAX_NAMED else ''}; "
            f"rewrite or remove them"
        )
    folders = [folder_values(footer.path) for footer in footers]
    return {
        name: text_type({values[name] for values in folders}) if kind == "folder" else kind
        for name, kind in usual.items()
    }


def _difference(columns: dict[str, str], usual: dict[str, str]) -> str:
    said = [
        *(f"lacks {name!r}" for name in usual if name not in columns),
        *(f"has {name!r} besides" for name in columns if name not in usual),
        *(
            f"has {name!r} as {columns[name]}, not {usual[name]}"
            for name in columns
            if columns[name] != usual.get(name, columns[name])
        ),
    ]
    return ", ".join(said) or "has a column that is a folder's KEY, too"


def text_type(values: set[str | None]) -> str:
    """int64, date32[day] or string: what texts can be read as without a loss."""
    given = [value for value in values if value is not None]
    if all(value.removeprefix("-").isdecimal() and str(int(value)) == value and len(value) < 19 for value in given):
        return "int64"
    try:
        return "date32[day]" if all(date.fromisoformat(value).isoformat() == value for value in given) else "string"
    except ValueError:
        return "string"


def _pieces(footers: list[Footer]) -> dict[str, list[int | str]]:
    rows: list[tuple[int | str, ...]] = []
    for footer in footers:
        first_row = 0
        for index, num_rows in enumerate(footer.row_groups):
            start = 0
            for size in split_evenly(num_rows, max(ROWS_PER_PART, -(-num_rows // MAX_PIECES))):
                of_file = (footer.num_bytes, footer.sha256, footer.modified_ns)
                rows.append((footer.path, index, first_row, start, start + size, *of_file))
                start += size
            first_row += num_rows
    runs = runs_within([int(row[4]) - int(row[3]) for row in rows], ROWS_PER_PART)
    parts = [part for part, (first, stop) in enumerate(runs) for _ in range(first, stop)]
    columns = zip(*rows, strict=True) if rows else [[]] * (len(PIECES) - 1)
    return dict(zip(PIECES.names, [parts, *map(list, columns)], strict=True))
