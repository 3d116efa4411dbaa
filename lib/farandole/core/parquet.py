"""Parquet files as farandole writes and reads them: checksummed pages, planned row groups, verified on reading."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.fingerprint import file_sha256
from farandole.core.manifest import FileEntry
from farandole.errors import DataError


def write_file(root: Path, path: str, schema: pa.Schema, row_groups: Iterable[pa.Table]) -> FileEntry:
    """Writes root/path, one row group per table, and returns its manifest entry. The bytes depend on the rows alone.

    Written to a sibling and renamed, so that a task that Spark retries or runs twice leaves one whole file.
    """
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    counts = []
    # Images do not compress and have no use for dictionaries or statistics; ids and labels do.
    small = [name for name in schema.names if name != "image"]
    with pq.ParquetWriter(
        partial,
        schema,
        compression={name: "zstd" if name in small else "none" for name in schema.names},
        use_dictionary=[name for name in small if name in ("label", "reason", "detail", "copy")],
        write_statistics=small,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for table in row_groups:
            if table.num_rows:
                writer.write_table(table.cast(schema), row_group_size=table.num_rows)
                counts.append(table.num_rows)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    entry = FileEntry(
        path=path,
        num_rows=sum(counts),
        num_bytes=partial.stat().st_size,
        sha256=file_sha256(partial),
        row_groups=counts,
    )
    partial.replace(target)
    return entry


def open_file(root: Path, entry: FileEntry) -> pq.ParquetFile:
    """Opens root/path with page checksums verified, and checks its footer against the manifest.

    Raises:
        DataError: names the file, and what is wrong with it.
    """
    path = root / entry.path
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True, memory_map=False)
        found = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is listed in the manifest but does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    if found != entry.row_groups:
        raise DataError(f"{path} has row groups of {found} rows, the manifest says {entry.row_groups}")
    return file


def read_row_group(file: pq.ParquetFile, path: Path | str, index: int, columns: list[str]) -> pa.Table:
    """One row group as a table; a flipped bit is an error, not another picture.

    Raises:
        DataError: names the file and the row group.
    """
    try:
        return file.read_row_group(index, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}, row group {index}: {error}; the file is damaged") from error
