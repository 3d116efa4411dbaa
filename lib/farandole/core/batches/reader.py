"""Rows of a split as numpy arrays, read from row groups with Arrow and checked against the manifest on the way.

Rows are named by (row group, index), as in core/plan/epoch_plan.py. Nothing is skipped in silence: a row group that is
short, damaged or another one than the manifest says ends the epoch with an error that names the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.batches.raw_pages import RawPages
from farandole.core.batches.stored_images import StoredImages
from farandole.core.dataset.manifest import FileEntry, Manifest
from farandole.core.dataset.parquet import open_file, read_row_group
from farandole.core.fingerprint import hash_ids
from farandole.core.plan.epoch_plan import row_group_sizes
from farandole.errors import DataError

MAX_OPEN_FILES = 128
"""Of a split at once, as is that of raw_pages.py; the usual limit of a process is 1,024 in all."""
COLUMNS = ["image_id", "image", "label", "copy", "row"]
SMALL_COLUMNS = [name for name in COLUMNS if name != "image"]
MAX_REMEMBERED_ROWS = 2**22
"""Of a split, whose labels, hashes and copy numbers take 16 bytes each."""


@dataclass(frozen=True)
class Batch:
    """Rows of one split, in the order of training. Any of them may have no rows."""

    images: np.ndarray
    """uint8 [n, height, width, channels]."""
    labels: np.ndarray
    """int32 [n]."""
    id_hashes: np.ndarray
    """uint64 [n], core.fingerprint.hash_ids of image_id."""
    copies: np.ndarray
    """int32 [n]."""
    rows: np.ndarray
    """int64 [n], positions in the split."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray | slice) -> "Batch":
        return Batch(*(getattr(self, name)[indices] for name in Batch.__dataclass_fields__))


def concatenate(batches: list[Batch]) -> Batch:
    """One batch from several, in order."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in Batch.__dataclass_fields__))


class SplitFiles:
    """The files of one split, opened when first needed; rows come by row group."""

    def __init__(
        self, root: Path, manifest: Manifest, split: str, on_read: Callable[[str], None] = lambda name: None
    ) -> None:
        """on_read is told the name of each row group before it is read, and "" when it has been."""
        self._root = root
        self._on_read = on_read
        self.images = StoredImages(manifest.image)
        self._num_classes = len(manifest.class_names)
        self._groups = [
            (entry, index) for entry in manifest.splits[split].files for index in range(len(entry.row_groups))
        ]
        sizes = row_group_sizes(manifest, split)
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        """int64 [G + 1], the first row of each row group."""
        self.paths = [root / entry.path for entry in manifest.splits[split].files]
        self._open: dict[str, pq.ParquetFile] = {}
        self._raw = RawPages(int(np.prod(self.images.shape))) if manifest.image.encoding == "raw" else None
        self._remembered: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._num_remembered = 0

    def verify(self) -> None:
        """Compares every file with its SHA-256 in the manifest; a DataError names the first that differs."""
        for entry, _ in self._groups:
            self._file(entry)

    def empty(self) -> Batch:
        """A batch of no rows, for the steps at which a rank has none."""
        return self._around(np.empty((0, *self.images.shape), np.uint8))

    def room(self, num_rows: int) -> Batch:
        """Memory for so many rows with their images as they are stored; of any contents."""
        return self._around(self.images.room(num_rows))

    def num_rows(self, row_group: int) -> int:
        """As the manifest says."""
        return int(self.starts[row_group + 1] - self.starts[row_group])

    def name(self, row_group: int) -> str:
        """For messages: the file and the row group in it."""
        entry, index = self._groups[row_group]
        return f"{self._root / entry.path}, row group {index}"

    def copy(self, row_group: int, wanted: slice, pool: Batch, at: int) -> bool:
        """Copies rows of a row group, their images straight from the file, to where they begin in the pool.

        Args:
            row_group: counted through the split.
            wanted: of its rows.
            pool: from room().
            at: where the first of them comes to lie.

        Returns:
            False, and nothing is copied, if images are encoded, or stored in a way that Arrow has to read.

        Raises:
            DataError: as read() does.
        """
        if self._raw is None:
            return False
        name = self.name(row_group)
        self._on_read(name)
        entry, index = self._groups[row_group]
        pages = self._raw.find(self._root, entry, self._file(entry).metadata, index)
        if pages is not None:
            there = slice(at, at + wanted.stop - wanted.start)
            small = self._remembered.get(row_group) or self._small(self.read_table(row_group, SMALL_COLUMNS), row_group)
            self._on_read(name)
            self._raw.copy(pages, wanted.start, pool.images[there])
            rows = np.arange(self.starts[row_group], self.starts[row_group + 1])
            for kept, column in zip((pool.labels, pool.id_hashes, pool.copies, pool.rows), (*small, rows), strict=True):
                kept[there] = column[wanted]
        self._on_read("")
        return pages is not None

    def read(self, row_group: int) -> Batch:
        """The rows of a row group, their images as they are stored, not yet decoded.

        What else they hold is remembered, so that later epochs read images alone.

        Raises:
            DataError: they are not the planned ones, or damaged; names the file and the row group.
        """
        small = self._remembered.get(row_group)
        table = self.read_table(row_group, ["image"] if small else COLUMNS)
        small = small or self._small(table, row_group)
        images = self.images.column(table["image"], self.name(row_group))
        return Batch(images, *small, np.arange(self.starts[row_group], self.starts[row_group + 1]))

    def stored(self, table: pa.Table, row_group: int) -> Batch:
        """The rows of a row group that read_table gave, their images as they are stored, not yet decoded.

        Raises:
            DataError: they are not the planned ones; names the file and the row group.
        """
        images = self.images.column(table["image"], self.name(row_group))
        rows = np.arange(self.starts[row_group], self.starts[row_group + 1])
        return Batch(images, *self._small(table, row_group), rows)

    def _small(self, table: pa.Table, row_group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, id hashes and copies of a row group, which are remembered."""
        start, stop = self.starts[row_group], self.starts[row_group + 1]
        if "row" in table.column_names:
            rows, copies = _numpy(table, "row"), _numpy(table, "copy")
        else:  # a file of preprocess that rebalance kept: no copies, and each row where the manifest says
            rows, copies = np.arange(start, start + len(table)), np.zeros(len(table), np.int32)
        if len(rows) != stop - start or not np.array_equal(rows, np.arange(start, stop)):
            raise DataError(f"{self.name(row_group)} does not hold rows {start} to {stop - 1} of its split")
        labels = _numpy(table, "label")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._num_classes:
            raise DataError(
                f"{self.name(row_group)}: labels from {labels.min()} to {labels.max()}; "
                f"expected 0 to {self._num_classes - 1}"
            )
        small = labels, hash_ids(table.column("image_id")), copies
        if row_group not in self._remembered and self._num_remembered + len(labels) <= MAX_REMEMBERED_ROWS:
            self._num_remembered += len(labels)
            self._remembered[row_group] = small
        return small

    def decode(self, table: pa.Table, row_group: int, indices: np.ndarray | slice = slice(None)) -> Batch:
        """Rows `indices` of a row group that read_table gave, in that order; only their images are decoded.

        Raises:
            DataError: names the file and the row group.
        """
        return self.decoded(self.stored(table, row_group).take(indices), row_group)

    def decoded(self, rows: Batch, row_group: int) -> Batch:
        """Rows of a row group, from `read`, with the pixels of their images.

        Raises:
            DataError: names the file and the row group.
        """
        try:
            return replace(rows, images=self.images.pixels(rows.images))
        except DataError as error:
            raise DataError(f"{self.name(row_group)}: {error}") from error

    def read_table(self, row_group: int, columns: list[str] = COLUMNS) -> pa.Table:
        """A row group (counted through the split) as it is on disk; damage is a DataError that names the file."""
        entry, index = self._groups[row_group]
        self._on_read(self.name(row_group))
        table = read_row_group(self._file(entry), self._root / entry.path, index, columns)
        self._on_read("")
        return table

    def _file(self, entry: FileEntry) -> pq.ParquetFile:
        file = self._open.pop(entry.path, None) or open_file(self._root, entry)
        self._open[entry.path] = file  # the newest last
        if len(self._open) > MAX_OPEN_FILES:
            self._open.pop(next(iter(self._open))).close()
        return file

    def _around(self, images: np.ndarray) -> Batch:
        kinds = (np.int32, np.uint64, np.int32, np.int64)
        return Batch(images, *(np.empty(len(images), kind) for kind in kinds))


def read_rows(files: SplitFiles, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
    """Yields rows [start, stop) of a split as they lie on disk, batch_size at a time (the last may be smaller)."""
    pending = files.empty()
    group = int(np.searchsorted(files.starts, start, side="right")) - 1
    position = start
    while position < stop or len(pending):
        while len(pending) < batch_size and position < stop:
            first, last = int(files.starts[group]), int(files.starts[group + 1])
            wanted = slice(position - first, min(stop, last) - first)
            pending = concatenate([pending, files.decoded(files.read(group).take(wanted), group)])
            position, group = min(stop, last), group + 1
        yield pending.take(slice(0, batch_size))
        pending = pending.take(slice(batch_size, None))


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()
