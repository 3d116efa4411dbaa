"""One rank's batches as numpy arrays, read from row groups with Arrow and checked against the manifest on the way.

Rows are named by (row group, index), as in core/epoch_plan.py. Nothing is skipped in silence: a row group that is
short, damaged or another one than the manifest says ends the epoch with an error that names the file.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from farandole.core.epoch_plan import Slice, row_group_sizes
from farandole.core.fingerprint import hash_ids
from farandole.core.manifest import FileEntry, ImageEntry, Manifest
from farandole.core.parquet import open_file, read_row_group
from farandole.errors import DataError, ResourceError

MAX_OPEN_FILES = 128
"""Of a split at once; the usual limit of a process is 1,024 in all."""
COLUMNS = ["image_id", "image", "label", "copy", "row"]


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
        self._image = manifest.image
        self._num_classes = len(manifest.class_names)
        self._groups = [
            (entry, index) for entry in manifest.splits[split].files for index in range(len(entry.row_groups))
        ]
        sizes = row_group_sizes(manifest, split)
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        """int64 [G + 1], the first row of each row group."""
        self.paths = [root / entry.path for entry in manifest.splits[split].files]
        self._open: dict[str, pq.ParquetFile] = {}
        self._decoders = ThreadPoolExecutor(2) if manifest.image.encoding == "jpeg" else None

    def verify(self) -> None:
        """Compares every file with its SHA-256 in the manifest; a DataError names the first that differs."""
        for entry, _ in self._groups:
            self._file(entry)

    def empty(self) -> Batch:
        """A batch of no rows, for the steps at which a rank has none."""
        shape = (0, self._image.height, self._image.width, self._image.channels)
        return Batch(
            np.zeros(shape, np.uint8),
            np.zeros(0, np.int32),
            np.zeros(0, np.uint64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
        )

    def name(self, row_group: int) -> str:
        """For messages: the file and the row group in it."""
        entry, index = self._groups[row_group]
        return f"{self._root / entry.path}, row group {index}"

    def decode(self, table: pa.Table, row_group: int, indices: np.ndarray | slice = slice(None)) -> Batch:
        """Rows `indices` of a row group that read_table gave, in that order; only their images are decoded.

        Raises:
            DataError: names the file and the row group.
        """
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
        return Batch(
            self._pixels(table.column("image"), row_group, indices),
            labels[indices],
            hash_ids(table.column("image_id"))[indices],
            copies[indices],
            rows[indices],
        )

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

    def decode_images(self, images: pa.Array | Sequence[bytes], name: str = "a file of the split") -> np.ndarray:
        """Pixels of encoded images, uint8 [n, height, width, channels]; raw ones are a view where they can be.

        Raises:
            DataError: an image has not the size or the encoding that the manifest says.
        """
        shape = (len(images), self._image.height, self._image.width, self._image.channels)
        if self._decoders:
            data = images.to_pylist() if isinstance(images, pa.Array) else images
            decoded = list(self._decoders.map(lambda item: decode_jpeg(item, self._image), data))
            return np.stack(decoded) if decoded else np.zeros(shape, np.uint8)
        array = images if isinstance(images, pa.Array) else pa.array(images, pa.binary())
        row_bytes = int(np.prod(shape[1:]))
        offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
        if (np.diff(offsets) != row_bytes).any():
            raise DataError(
                f"{name}: images of {sorted(set(np.diff(offsets).tolist()))[:3]} bytes; expected {row_bytes}"
            )
        return np.frombuffer(array.buffers()[2], np.uint8, len(array) * row_bytes, int(offsets[0])).reshape(shape)

    def _pixels(self, column: pa.ChunkedArray, row_group: int, indices: np.ndarray | slice) -> np.ndarray:
        array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if self._decoders:  # decode no image that is not asked for
            return self.decode_images(array.take(pa.array(np.arange(len(array))[indices])), self.name(row_group))
        return self.decode_images(array, self.name(row_group))[indices]


def read_slice(files: SplitFiles, rank_slice: Slice, *, start_step: int = 0) -> Iterator[Batch]:
    """Yields this rank's rows of each global batch from start_step to the end of the epoch, one batch a step."""
    plan = rank_slice.plan
    sources = {stream: _stream_rows(files, rank_slice, stream, start_step) for stream in rank_slice.streams}
    pending: dict[int, Batch] = dict.fromkeys(sources, files.empty())
    for step in range(start_step, plan.num_steps):
        parts = []
        for stream, source in sources.items():
            low, high = rank_slice.share(stream, plan.batch_rows(step))
            needed = high - low
            while needed:
                if not len(pending[stream]):
                    pending[stream] = next(source)
                part = pending[stream].take(slice(0, needed))
                pending[stream] = pending[stream].take(slice(len(part), None))
                parts.append(part)
                needed -= len(part)
        yield concatenate(parts) if parts else files.empty()


def _stream_rows(files: SplitFiles, rank_slice: Slice, stream: int, start_step: int) -> Iterator[Batch]:
    """The rank's rows of one stream, a window at a time; a row group that two windows share is read once."""
    tables: dict[int, pa.Table] = {}
    for positions in rank_slice.windows(stream, start_step):
        row_groups, indices = rank_slice.plan.locate(positions)
        tables = {g: tables[g] if g in tables else files.read_table(g) for g in np.unique(row_groups).tolist()}
        yield _gather(files, tables, row_groups, indices)
        last_group = int(row_groups[positions.argmax()])
        tables = {last_group: tables[last_group]}  # the next window starts inside it


def _gather(files: SplitFiles, tables: dict[int, pa.Table], row_groups: np.ndarray, indices: np.ndarray) -> Batch:
    """Rows named by (row group, index), in that order."""
    order = np.argsort(row_groups, kind="stable")
    ends = np.cumsum([np.count_nonzero(row_groups == group) for group in tables])  # tables are in ascending order
    chosen = np.split(indices[order], ends[:-1])
    parts = [files.decode(table, group, own) for (group, table), own in zip(tables.items(), chosen, strict=True)]
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return concatenate(parts).take(inverse)


def read_rows(files: SplitFiles, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
    """Yields rows [start, stop) of a split as they lie on disk, batch_size at a time (the last may be smaller)."""
    pending = files.empty()
    group = int(np.searchsorted(files.starts, start, side="right")) - 1
    position = start
    while position < stop or len(pending):
        while len(pending) < batch_size and position < stop:
            first, last = int(files.starts[group]), int(files.starts[group + 1])
            wanted = slice(position - first, min(stop, last) - first)
            pending = concatenate([pending, files.decode(files.read_table(group), group, wanted)])
            position, group = min(stop, last), group + 1
        yield pending.take(slice(0, batch_size))
        pending = pending.take(slice(batch_size, None))


def decode_jpeg(data: bytes | pa.Buffer, image: ImageEntry) -> np.ndarray:
    """Decodes an image that preprocess encoded: uint8 [height, width, channels].

    Raises:
        DataError: the bytes are no JPEG of that shape.
    """
    try:
        with PIL.Image.open(BytesIO(data), formats=["JPEG"]) as picture:
            found = (picture.height, picture.width, len(picture.getbands()))
            shape = (image.height, image.width, image.channels)
            if found != shape:  # by its header, before a pixel is decoded
                raise DataError(f"a stored image has shape {found}; the manifest says {shape}")
            return np.asarray(picture).reshape(shape)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"a stored image is no readable JPEG: {error}; the data set is damaged") from error


def check_memory(manifest: Manifest, rank_slice: Slice, limit_bytes: int) -> int:
    """Bytes of decoded input that the reader of this slice holds, which must fit train.reader_memory_bytes.

    Raises:
        ResourceError: they do not; says which key to change.
    """
    image, plan = manifest.image, rank_slice.plan
    row_bytes = image.height * image.width * image.channels
    group_rows = int(row_group_sizes(manifest, "train").max())
    windows = sum(len(next(rank_slice.windows(stream))) for stream in rank_slice.streams)
    needed = (windows + 2 * group_rows + 4 * plan.global_batch_size) * row_bytes
    if needed > limit_bytes:
        raise ResourceError(
            f"the reader of rank {rank_slice.rank} needs {needed} bytes ({windows} rows in {len(rank_slice.streams)} "
            f"streams), train.reader_memory_bytes is {limit_bytes}; raise it, or lower layout.rows_per_row_group, "
            f"which is {group_rows} in this data set"
        )
    return needed


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()
