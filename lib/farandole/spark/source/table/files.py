"""The files of a partitioned Parquet table: their footers, the one schema they must share, and who reads which rows.

Only footers are read here. Files and folders whose names start with "_" or "." are no data, as in Spark and Arrow.
"""

import glob
import hashlib
import json
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_ISREG

import pyarrow as pa
import pyarrow.parquet as pq

from farandole.config.data import Data, Missing
from farandole.core.dataset.parquet import footer_bytes
from farandole.core.plan.layout import runs_within, split_evenly
from farandole.errors import DataError
from farandole.spark.source.folder import check_there, walk
from farandole.spark.source.listing import escape_name
from farandole.spark.source.table.column_types import column_types
from farandole.spark.source.table.columns import check_columns, wanted_columns
from farandole.spark.source.table.common_columns import common_columns

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
_REPLACED = "table, those of deleted and replaced rows, too"
TABLE_LOGS = {
    "delta": ("_delta_log", f"a Delta {_REPLACED}"),
    "hudi": (".hoodie", f"a Hudi {_REPLACED}"),
    "iceberg": ("metadata/*.metadata.json", f"an Iceberg {_REPLACED}"),
    "parquet": ("_spark_metadata", "a streaming query, those that it never committed, too"),
}
"""Spark's name of a format -> where such a table, in its own folder, keeps which of its rows are valid; and what lies
there besides."""
_MAGIC = (b"PAR1", b"PARE")
"""How Parquet files start, in plain text and encrypted."""
_LACKS = ("encrypt", "unrecognized", "unsupported", "not supported", "not implemented", "not built")
"""How Arrow says that it is not the file's fault."""
_NUM_THREADS, _HIDDEN = 16, ("_", ".")


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
        ConfigError: data.path is not there, or a column that the config names does not.
        DataError: there are no files or no rows, one of TABLE_LOGS lies around data.path, in it or below it, a file is
            not readable Parquet, files differ in their columns, or a column has a type that is no use.
    """
    root, paths = table_root(data), _paths(data)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        footers = list(pool.map(lambda path: read_footer(root, path), paths))
    wanted = wanted_columns(data, missing, with_images=True)
    columns = common_columns(data, wanted, {footer.path: footer.columns for footer in footers})
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


def verdict(error: BaseException, damage: str) -> str:
    """What is wrong with a file that Arrow cannot read, and what to do: `damage`, unless Arrow says that it lacks the
    means."""
    if isinstance(error, NotImplementedError) or any(sign in str(error).lower() for sign in _LACKS):
        return f"pyarrow {pa.__version__} cannot read this kind of file, which may be sound: write it in a plainer way"
    return f"{damage}: replace or remove it"


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
            # Not ours, and looked at anew each time: no manifest knows what it holds.
            file = pq.ParquetFile(source, coerce_int96_timestamp_unit="us")
            columns = column_types(file.schema_arrow)
            row_groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    except FileNotFoundError as error:
        raise DataError(
            f"{root / path} is gone since it was listed; run again when nobody changes data.path"
        ) from error
    except (OSError, pa.ArrowException, MemoryError) as error:
        _refuse_foreign(root, path)
        raise DataError(
            f"{root / path} is not a readable Parquet file: {one_line(error)}; "
            f"{verdict(error, 'it is cut off or damaged')}"
        ) from error
    return Footer(path, num_bytes, sha256, modified_ns, columns, row_groups)


def _refuse_foreign(root: Path, path: str) -> None:
    """A note or a label file beside the table is not damaged, and nothing that should be removed."""
    try:
        with (root / path).open("rb") as source:
            start = source.read(16)
    except OSError:
        return
    if start and start[:4] not in _MAGIC:
        raise DataError(
            f"{root / path} is no Parquet file, it starts with {start!r}; move it out of {str(root)!r}, or give its "
            f"name a _ in front: what starts with _ or . is skipped"
        )


def _paths(data: Data) -> list[str]:
    given = Path(data.path)
    check_there(given, "the Parquet files")
    walked = [] if given.is_file() else list(walk(given))
    _refuse_logged(data, [path for path, _ in walked])
    if given.is_file():
        return [given.name]
    found = [pair for pair in walked if not any(name.startswith(_HIDDEN) for name in pair[0].split("/"))]
    paths = [path for path, _ in found]
    # A named pipe would be waited for; a file that has vanished is told by read_footer.
    strange = [path for path, status in found if _is_unsafe(path) or (status and not S_ISREG(status.st_mode))]
    if strange:
        raise DataError(
            f"{strange[0]!r} in data.path is a link or no file, or has an unsafe name; replace or rename it"
        )
    if not paths:
        raise DataError(f"data.path {str(given)!r} holds no Parquet files")
    return sorted(paths)


def _is_unsafe(path: str) -> bool:
    """Whether it breaks lines, or is no UTF-8; blanks of all kinds and joiners are part of names."""
    return any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in path)


def _refuse_logged(data: Data, paths: list[str]) -> None:
    """Refuses Delta, Hudi and Iceberg tables, and what streaming queries write: beside their valid files lie others.

    Args:
        data: its path may also lie inside such a table, as the folder of a partition does.
        paths: of all files below data.path, hidden ones too, so that nothing has to be listed again.
    """
    root = Path(data.path).resolve()
    # What lies in a hidden folder is not read, be it a whole table: nothing behind the first hidden name counts.
    below = sorted({_up_to_hidden(path) for path in paths})
    for kind, (log, what) in TABLE_LOGS.items():
        found = [folder / name for folder in root.parents for name in glob.glob(log, root_dir=folder)]
        found += [root / path for path in below if fnmatchcase(f"/{path}", f"*/{log}")]
        if found:
            name, table = escape_name(str(found[0])), escape_name(str(found[0].parents[log.count("/")]))
            raise DataError(
                f"data.path {data.path!r} holds files of {what}: "
                f"{name!r} was found; write the version that you want as plain Parquet, with "
                f"spark.read.format({kind!r}).load({table!r}).write.parquet(FOLDER), and give that FOLDER"
            )


def _up_to_hidden(path: str) -> str:
    """The path down to its first hidden name, or all of it."""
    names = path.split("/")
    return next(("/".join(names[: end + 1]) for end, name in enumerate(names) if name.startswith(_HIDDEN)), path)


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
