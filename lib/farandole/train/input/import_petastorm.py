"""petastorm 0.13.1 beside the pyarrow and the numpy of today, for which it was not written: what it misses, and a mend.

It imports names that pyarrow 16 and numpy 2 no longer have, and lists and reads files by pyarrow's old ParquetDataset,
which is gone. This puts the few things in their place that reading a list of local files needs. Files are read and
verified by us. Files of metadata beside them, which petastorm would unpickle, are never opened.
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.dataset.parquet import open_unlisted, read_row_group

LOCAL_FILES = SimpleNamespace(open=pa.OSFile)
"""What petastorm asks of a file system; to be handed to make_batch_reader."""


@functools.cache
def import_petastorm() -> ModuleType:
    """petastorm, whose make_batch_reader then reads a list of local Parquet files and loses none of their row groups.

    Names are added to numpy and nothing else is changed outside of petastorm; still, only who reads with petastorm
    should call this.
    """
    np.unicode_, np.string_ = np.str_, np.bytes_  # type: ignore[attr-defined]
    for name, content in (("filesystem", "LocalFileSystem"), ("hdfs", "HadoopFileSystem")):
        # Imported at the top of its files, used for what we do not do.
        sys.modules.setdefault(f"pyarrow.{name}", SimpleNamespace(**{content: object}))  # type: ignore[arg-type]
    import petastorm
    from petastorm import arrow_reader_worker, reader
    from petastorm.etl import dataset_metadata
    from petastorm.workers_pool.thread_pool import ThreadPool

    for module in (arrow_reader_worker, dataset_metadata, reader):
        module.pq = SimpleNamespace(ParquetDataset=_Dataset, ParquetDatasetPiece=_Piece)
    _wait_for_the_last_row_group(ThreadPool)
    return petastorm


@dataclass(frozen=True)
class _Piece:
    """A file, or one of its row groups."""

    path: str
    open_file_func: Any = None
    row_group: int | None = None
    partition_keys: tuple[()] = ()

    def get_metadata(self) -> pq.FileMetaData:
        return pq.read_metadata(self.path)

    def read(self, columns: set[str], partitions: None) -> pa.Table:
        assert self.row_group is not None  # petastorm reads row groups, never whole files
        with open_unlisted(Path(self.path)) as file:  # listed, and its footer was compared before petastorm started
            return read_row_group(file, self.path, self.row_group, list(columns))


class _Dataset:
    """The files of a list: the folders that they are in, like split=train, say nothing about them."""

    metadata = common_metadata = partitions = None

    def __init__(self, paths: list[str], filesystem: Any, **_: Any) -> None:
        self.fs = filesystem
        self.pieces = [_Piece(path) for path in paths]


def _wait_for_the_last_row_group(pool: Any) -> None:
    """The pool ends when all that was handed to its threads is done, and then asks whether all was handed to them.

    If the last row group is handed out between these two questions, it is lost: up to 8 of 40 epochs with two threads.
    So the second question is asked first.
    """
    done = pool.all_workers_done

    def all_workers_done(self: Any) -> bool:
        return (not self._ventilator or self._ventilator.completed()) and done(self)

    pool.all_workers_done = all_workers_done
