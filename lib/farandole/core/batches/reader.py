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
from farandole.core.batches.stored_images import StoredImages
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.parquet import OpenFiles, read_row_group
from farandole.core.fingerprint import hash_ids
from farandole.core.plan.epoch_plan import row_group_sizes
from farandole.errors import DataError

COLUMNS = ["image_id", "image", "label", "copy", "row"]
"""The columns of a file that batches are made of; it may have others."""
MAX_REMEMBERED_ROWS = 2**22
"""How many rows of a split have their label, id hash and copy number kept in memory, in 16 bytes a row."""


@dataclass(frozen=True)
class Batch:
    """Rows of one split, in the order of training. Any of them may have no rows."""

    images: np.ndarray
    """Pixels, uint8 [n, height, width, channels]; before they are decoded what StoredImages.room gives."""
    labels: np.ndarray
    """Classes as indices into the manifest's class_names, int32 [n]."""
    id_hashes: np.ndarray
    """What core.fingerprint.hash_ids makes of each image_id, uint64 [n]."""
    copies: np.ndarray
    """Numbers of the copies that balancing made of an image, 0 for the first, int32 [n]."""
    rows: np.ndarray
    """Positions in the split, int64 [n]."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray | slice) -> "Batch":
        return Batch(*(getattr(self, name)[indices] for name in Batch.__dataclass_fields__))


def concatenate(batches: list[Batch]) -> Batch:
    """One batch from several, in order."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in Batch.__dataclass_fields__))


def room_for(images: np.ndarray) -> Batch:
    """A batch around these images, uint8 [n, ...] or object [n], whose other fields are of any contents."""
    kinds = (np.int32, np.uint64, np.int32, np.int64)
    return Batch(images, *(np.empty(len(images), kind) for kind in kinds))


def no_rows(image_shape: tuple[int, int, int]) -> Batch:
    """A batch of no rows, for the steps at which a rank has none."""
    return room_for(np.empty((0, *image_shape), np.uint8))


class SplitFiles:
    """The files of one split, opened when first needed; rows come by row group, which are counted through the split."""

    def __init__(
        self, root: Path, manifest: Manifest, split: str, on_read: Callable[[str], None] = lambda name: None
    ) -> None:
        """on_read is told the name of each row group before it is read, and "" when it has been."""
        self._on_read = on_read
        self.images = StoredImages(manifest.image)
        self._num_classes = len(manifest.class_names)
        self._groups = [
            (entry, index) for entry in manifest.splits[split].files for index in range(len(entry.row_groups))
        ]
        self.sizes = row_group_sizes(manifest, split)
        """How many rows each row group has by the manifest, int64 [row groups]."""
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])
        """The first row of each row group, then the number of rows in all, int64 [row groups + 1]."""
        self.paths = [root / entry.path for entry in manifest.splits[split].files]
        self._open = OpenFiles(root)
        self._raw = RawPages(self._open, int(np.prod(self.images.shape))) if manifest.image.encoding == "raw" else None
        self._remembered: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._num_remembered = 0

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
        """The rows of a row group, their images as they are stored, not yet decoded.

        What else they hold is remembered, so that later epochs read images alone. Raw images are contiguous one by one.

        Raises:
            DataError: they are not the planned ones, or damaged; names the file and the row group.
        """
        small, images = self._remembered.get(row_group), self._raw_images(row_group)
        columns = [name for name in COLUMNS if (images if name == "image" else small) is None]
        if columns:
            table = self._table(row_group, columns)
            small = small or self._small(table, row_group)
            images = self.images.column(table["image"], self.name(row_group)) if images is None else images
        assert small is not None
        assert images is not None
        return Batch(images, *small, np.arange(self.starts[row_group], self.starts[row_group + 1]))

    def decode(self, stored: Batch) -> Batch:
        """Rows of one row group as read() gives them, or some of them, with the pixels of their images.

        Raises:
            DataError: an image is damaged; names the file and the row group.
        """
        try:
            return replace(stored, images=self.images.pixels(stored.images))
        except DataError as error:
            raise DataError(f"{self.name(self.group_of(stored.rows[0]))}: {error}") from error

    def row(self, number: int) -> tuple[str, Batch]:
        """The image_id of one row of the split, and the row, with its pixels.

        Raises:
            DataError: as read() and decode() do.
        """
        group = self.group_of(number)
        index = number - int(self.starts[group])
        image_id = self._table(group, ["image_id"])["image_id"][index].as_py()
        return image_id, self.decode(self.read(group).take(slice(index, index + 1)))

    def _raw_images(self, row_group: int) -> np.ndarray | None:
        """Straight from the file, uint8 [n, height, width, channels]; None if Arrow has to read them."""
        if self._raw is None:
            return None
        self._on_read(self.name(row_group))
        images = self._raw.read(*self._groups[row_group])
        self._on_read("")
        return None if images is None else images.reshape(-1, *self.images.shape)

    def _small(self, table: pa.Table, row_group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, id hashes and copies of a row group, which are remembered."""
        start, stop = int(self.starts[row_group]), int(self.starts[row_group + 1])
        small = _small_columns(table, start, stop, self._num_classes, self.name(row_group))
        if row_group not in self._remembered and self._num_remembered + stop - start <= MAX_REMEMBERED_ROWS:
            self._num_remembered += stop - start
            self._remembered[row_group] = small
        return small

    def _table(self, row_group: int, columns: list[str]) -> pa.Table:
        """Columns of a row group as they are on disk; damage is a DataError that names the file."""
        entry, index = self._groups[row_group]
        self._on_read(self.name(row_group))
        table = read_row_group(self._open.file(entry), self._open.root / entry.path, index, columns)
        self._on_read("")
        return table


def read_rows(files: SplitFiles, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
    """Yields rows [start, stop) of a split as they lie on disk, batch_size at a time (the last may be smaller)."""
    pending = no_rows(files.images.shape)
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


def _small_columns(
    table: pa.Table, start: int, stop: int, num_classes: int, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, id hashes and copies of a row group, which must hold rows [start, stop) of its split."""
    if "row" in table.column_names:
        rows, copies = _numpy(table, "row"), _numpy(table, "copy")
    else:  # a file of preprocess that rebalance kept: no copies, and each row where the manifest says
        rows, copies = np.arange(start, start + len(table)), np.zeros(len(table), np.int32)
    if not np.array_equal(rows, np.arange(start, stop)):
        raise DataError(f"{name} does not hold rows {start} to {stop - 1} of its split")
    labels = _numpy(table, "label")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{name}: labels from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}")
    return labels, hash_ids(table.column("image_id")), copies


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()
