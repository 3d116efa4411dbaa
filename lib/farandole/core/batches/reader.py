"""Rows of a split as numpy arrays, read from row groups with Arrow and checked against the manifest on the way.

Rows are named by (row group, index), as in core/plan/epoch_plan.py. Nothing is skipped in silence: a row group that is
short, damaged or another one than the manifest says ends the epoch with an error that names the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from farandole.core.batches.raw_pages import RawPages
from farandole.core.batches.stored_columns import StoredColumn
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.parquet import OpenFiles, read_row_group
from farandole.core.fingerprint import hash_ids
from farandole.core.plan.epoch_plan import row_group_sizes
from farandole.errors import DataError

MAX_REMEMBERED_ROWS = 2**22
"""How many rows of a split have their numbers, id hash and copy number kept in memory, in about 16 bytes a row."""


@dataclass(frozen=True)
class Batch:
    """Rows of one split, in the order of training. Any of them may have no rows."""

    values: dict[str, np.ndarray]
    """By feature, in the order of the sample: of its dtype, [n, *shape]; before decoding as StoredColumn.room gives."""
    id_hashes: np.ndarray
    """What core.fingerprint.hash_ids makes of each id, uint64 [n]."""
    copies: np.ndarray
    """Numbers of the copies that balancing made of a row, 0 for the first, int32 [n]."""
    rows: np.ndarray
    """Positions in the split, int64 [n]."""

    def __len__(self) -> int:
        return len(self.rows)

    def arrays(self) -> list[np.ndarray]:
        """All of them, those of the features first."""
        return [*self.values.values(), self.id_hashes, self.copies, self.rows]

    def take(self, indices: np.ndarray | slice) -> "Batch":
        values = {name: array[indices] for name, array in self.values.items()}
        return Batch(values, self.id_hashes[indices], self.copies[indices], self.rows[indices])


def concatenate(batches: list[Batch]) -> Batch:
    """One batch from several, in order."""
    if len(batches) == 1:
        return batches[0]
    values = {name: np.concatenate([batch.values[name] for batch in batches]) for name in batches[0].values}
    others = [[batch.id_hashes, batch.copies, batch.rows] for batch in batches]
    return Batch(values, *map(np.concatenate, zip(*others, strict=True)))


class SplitFiles:
    """The files of one split, opened when first needed; rows come by row group, which are counted through the split."""

    def __init__(
        self, root: Path, manifest: Manifest, split: str, on_read: Callable[[str], None] = lambda name: None
    ) -> None:
        """on_read is told the name of each row group before it is read, and "" when it has been."""
        self._on_read = on_read
        self.sample = manifest.sample
        self.large = {name: StoredColumn(name, feature) for name, feature in manifest.sample.large.items()}
        """The columns of features that are more than a number."""
        self._small = [name for name in manifest.sample.features if name not in self.large]
        self._groups = [
            (entry, index) for entry in manifest.splits[split].files for index in range(len(entry.row_groups))
        ]
        self.sizes = row_group_sizes(manifest, split)
        """How many rows each row group has by the manifest, int64 [row groups]."""
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])
        """The first row of each row group, then the number of rows in all, int64 [row groups + 1]."""
        self.paths = [root / entry.path for entry in manifest.splits[split].files]
        self._open = OpenFiles(root)
        self._pages = {
            name: RawPages(self._open, name, column.feature.num_bytes)
            for name, column in self.large.items()
            if column.feature.stored == "raw"
        }
        self._remembered: dict[int, tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]] = {}
        self._num_remembered = 0

    @property
    def columns(self) -> list[str]:
        """The columns of a file that batches are made of; it may have others."""
        return ["id", *self.sample.features, "copy", "row"]

    def room(self, num_rows: int) -> Batch:
        """A batch of so many rows of any contents, its large features as they are stored."""
        return self._batch(num_rows, {name: column.room(num_rows) for name, column in self.large.items()})

    def no_rows(self) -> Batch:
        """A batch of no rows, for the steps at which a rank has none."""
        return self._batch(0, {name: column.empty(0) for name, column in self.large.items()})

    def _batch(self, num_rows: int, large: dict[str, np.ndarray]) -> Batch:
        values = {
            name: large[name] if name in large else np.empty(num_rows, feature.dtype)
            for name, feature in self.sample.features.items()
        }
        return Batch(values, *(np.empty(num_rows, kind) for kind in (np.uint64, np.int32, np.int64)))

    def verify(self) -> None:
        """Compares the footer of every file with the manifest; a DataError names the first that differs."""
        for entry, _ in self._groups:
            self._open.file(entry)

    def name(self, row_group: int) -> str:
        """For messages: the file and the row group in it."""
        entry, index = self._groups[row_group]
        return f"{self._open.root / entry.path}, row group {index}"

    def group_of(self, row: int) -> int:
        """The row group that a row of the split lies in."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def read(self, row_group: int) -> Batch:
        """The rows of a row group, their large features as they are stored, not yet decoded.

        What else they hold is remembered, so that later epochs read those alone. Raw ones are contiguous one by one.

        Raises:
            DataError: they are not the planned ones, or damaged; names the file and the row group.
        """
        small, large = self._remembered.get(row_group), self._read_raw(row_group)
        columns = [name for name in self.large if name not in large]
        columns += [] if small else ["id", *self._small, "copy", "row"]
        if columns:
            table = self._table(row_group, columns)
            small = small or self._numbers(table, row_group)
            for name, column in self.large.items():
                if name not in large:
                    large[name] = column.read(table[name], self.name(row_group))
        assert small is not None
        numbers, id_hashes, copies = small
        values = {name: large[name] if name in large else numbers[name] for name in self.sample.features}
        return Batch(values, id_hashes, copies, np.arange(self.starts[row_group], self.starts[row_group + 1]))

    def decode(self, stored: Batch) -> Batch:
        """Rows of one row group as read() gives them, or some of them, as training has them.

        Raises:
            DataError: an image is damaged; names the file and the row group.
        """
        try:
            decoded = {name: column.decode(stored.values[name]) for name, column in self.large.items()}
        except DataError as error:
            raise DataError(f"{self.name(self.group_of(stored.rows[0]))}: {error}") from error
        return replace(stored, values=stored.values | decoded)

    def row(self, number: int) -> tuple[str, Batch]:
        """The id of one row of the split, and the row, decoded.

        Raises:
            DataError: as read() and decode() do.
        """
        group = self.group_of(number)
        index = number - int(self.starts[group])
        sample_id = self._table(group, ["id"])["id"][index].as_py()
        return sample_id, self.decode(self.read(group).take(slice(index, index + 1)))

    def _read_raw(self, row_group: int) -> dict[str, np.ndarray]:
        """The features that can be read without Arrow, as a batch has them."""
        found = {}
        for name, pages in self._pages.items():
            self._on_read(self.name(row_group))
            values = pages.read(*self._groups[row_group])
            self._on_read("")
            if values is not None:
                found[name] = self.large[name].view(values)
        return found

    def _numbers(self, table: pa.Table, row_group: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Small features, id hashes and copies of a row group, which are remembered."""
        start, stop, name = int(self.starts[row_group]), int(self.starts[row_group + 1]), self.name(row_group)
        copies = _check_rows(table, start, stop, name)
        numbers = {small: _numpy(table, small).astype(self.sample.features[small].dtype) for small in self._small}
        _check_classes(numbers[self.sample.classes], len(self.sample.class_names), name)
        found = numbers, hash_ids(table.column("id")), copies
        if row_group not in self._remembered and self._num_remembered + stop - start <= MAX_REMEMBERED_ROWS:
            self._num_remembered += stop - start
            self._remembered[row_group] = found
        return found

    def _table(self, row_group: int, columns: list[str]) -> pa.Table:
        """Columns of a row group as they are on disk; damage is a DataError that names the file."""
        entry, index = self._groups[row_group]
        self._on_read(self.name(row_group))
        table = read_row_group(self._open.file(entry), self._open.root / entry.path, index, columns)
        self._on_read("")
        return table


def read_rows(files: SplitFiles, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
    """Yields rows [start, stop) of a split as they lie on disk, batch_size at a time (the last may be smaller)."""
    pending = files.no_rows()
    group = files.group_of(start)
    position = start
    while position < stop or len(pending):
        while len(pending) < batch_size and position < stop:
            first, last = int(files.starts[group]), int(files.starts[group + 1])
            wanted = slice(position - first, min(stop, last) - first)
            pending = concatenate([pending, files.decode(files.read(group).take(wanted))])
            position, group = min(stop, last), group + 1
        yield pending.take(slice(0, batch_size))
        pending = pending.take(slice(batch_size, None))


def _check_rows(table: pa.Table, start: int, stop: int, name: str) -> np.ndarray:
    """The copies of the rows of a row group, which must be rows [start, stop) of its split."""
    if "row" in table.column_names:
        rows, copies = _numpy(table, "row"), _numpy(table, "copy")
    else:  # a file of preprocess that rebalance kept: no copies, and each row where the manifest says
        rows, copies = np.arange(start, start + len(table)), np.zeros(len(table), np.int32)
    if not np.array_equal(rows, np.arange(start, stop)):
        raise DataError(f"{name} does not hold rows {start} to {stop - 1} of its split")
    return copies


def _check_classes(labels: np.ndarray, num_classes: int, name: str) -> None:
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{name}: labels from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}")


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()
