"""One rank's batches of an epoch, in the plan's order, with two copies of a row between a row group and a batch.

Row groups are read whole, so that they are verified before a row of them is trained on, and each once. The rows of each
stream's window are copied as they lie into a pool, which is allocated once; batches are then taken out of it, one
gather per column for several steps at a time, into memory that is used again as soon as nobody holds a batch of it.
Fresh memory would cost more than all of this: the kernel has to find and clear every page of it.
"""

import sys
from collections.abc import Iterator

import numpy as np

from farandole.core.batches.reader import Batch, SplitFiles, concatenate
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.sample import Feature
from farandole.core.plan.epoch_plan import Slice
from farandole.errors import DataError, ResourceError

BLOCK_BYTES = 2 * 1024 * 1024
"""How many bytes are taken out of the pool at once, or else one batch: they stay in the cache until they are used."""
ALIGNMENT_BYTES = 64
"""Large features in memory start at a multiple of this, so that TensorFlow can use them where they are."""
READY_BATCHES = 8
"""How many batches there are as pixels at once: in the queue between reader and training, in use, and being made."""


def read_slice(files: SplitFiles, rank_slice: Slice, *, start_step: int = 0) -> Iterator[Batch]:
    """Yields this rank's rows of each global batch from start_step to the end of the epoch, one batch a step."""
    plan = rank_slice.plan
    lengths = _held_rows(rank_slice)
    bases = np.cumsum(lengths) - lengths
    pool = files.room(int(lengths.sum()))
    streams = [
        _Stream(files, pool, int(base), rank_slice, stream, start_step)
        for base, stream in zip(bases, rank_slice.streams, strict=True)
    ]
    blocks = _Blocks(files, pool)
    step = start_step
    while step < plan.num_steps:
        size = plan.batch_rows(step)
        shares = [high - low for low, high in (rank_slice.share(stream, size) for stream in rank_slice.streams)]
        last = plan.num_full_steps if step < plan.num_full_steps else plan.num_steps
        while step < last:  # steps of one size
            num_steps = min(last - step, _whole_steps(streams, shares), blocks.num_batches(sum(shares)))
            if num_steps:
                yield from blocks.batches(_places(streams, shares, num_steps), num_steps)
            else:  # a window ends inside this batch: its rows are taken before those of the next come into their place
                found = (places for s, rows in zip(streams, shares, strict=True) for places in s.pieces(rows))
                yield concatenate([files.no_rows(), *map(blocks.rows, found)])
            step += max(1, num_steps)


def _held_rows(rank_slice: Slice) -> np.ndarray:
    """int64 [streams]: the rows of a window of each stream."""
    plan = rank_slice.plan
    return np.minimum(np.diff(plan.stream_starts)[rank_slice.streams], plan.window_rows)


def _whole_steps(streams: list["_Stream"], shares: list[int]) -> int:
    """How many steps the windows that are in the pool can serve."""
    return min((len(s.places) // rows for s, rows in zip(streams, shares, strict=True) if rows), default=0)


def _places(streams: list["_Stream"], shares: list[int], num_steps: int) -> np.ndarray:
    """Where the rows of the next batches lie in the pool, int64, one batch after the other."""
    taken = [s.take(num_steps * rows).reshape(num_steps, rows) for s, rows in zip(streams, shares, strict=True)]
    return np.concatenate(taken, axis=1).reshape(-1)


class _Stream:
    """The rows of one stream that are this rank's, a window of them in the pool."""

    def __init__(
        self, files: SplitFiles, pool: Batch, base: int, rank_slice: Slice, stream: int, start_step: int
    ) -> None:
        """The stream's own part of the pool starts at `base` and is as long as a window."""
        self.places = np.empty(0, np.int64)
        """Where in the pool the window's rows lie that are yet to be trained, in that order, int64."""
        self._files, self._pool, self._base = files, pool, base
        self._plan, self._windows = rank_slice.plan, rank_slice.windows(stream, start_step)
        self._held: tuple[int, Batch] | None = None  # a row group that goes on in the next window, and so is read once

    def take(self, num_rows: int) -> np.ndarray:
        """The places of the next rows, at most so many."""
        taken, self.places = self.places[:num_rows], self.places[num_rows:]
        return taken

    def pieces(self, num_rows: int) -> Iterator[np.ndarray]:
        """The same across windows; the places of one piece are good until the next is asked for."""
        while num_rows:
            if not len(self.places):
                self._load(next(self._windows))
            taken = self.take(num_rows)
            num_rows -= len(taken)
            yield taken

    def _load(self, positions: np.ndarray) -> None:
        """Copies a window's row groups into the pool, one after the other as the plan has them."""
        plan, low, high = self._plan, int(positions.min()), int(positions.max()) + 1
        at = low
        while at < high:
            slot = int(np.searchsorted(plan.row_group_ends, at, side="right"))
            group, end = int(plan.row_group_order[slot]), int(plan.row_group_ends[slot])
            start, stop = end - int(self._files.sizes[group]), min(end, high)
            self._copy(group, slice(at - start, stop - start), self._base + at - low)
            if stop == end:
                self._held = None
            at = stop
        self.places = self._base + positions - low

    def _copy(self, group: int, wanted: slice, at: int) -> None:
        if self._held is None or self._held[0] != group:
            self._held = None  # before there is another one
            self._held = group, self._files.read(group)
        rows = self._held[1]
        for target, found in zip(self._pool.arrays(), rows.arrays(), strict=True):
            target[at : at + wanted.stop - wanted.start] = found[wanted]


class _Blocks:
    """Takes batches out of the pool, into memory that is used again when no batch refers to it any more."""

    def __init__(self, files: SplitFiles, pool: Batch) -> None:
        self._files, self._pool = files, pool
        self._buffers: dict[str, list[np.ndarray]] = {name: [] for name in files.large}

    def num_batches(self, num_rows: int) -> int:
        """How many batches of so many rows make a block."""
        return max(1, BLOCK_BYTES // max(1, num_rows * self._files.sample.num_bytes))

    def batches(self, places: np.ndarray, num_batches: int) -> Iterator[Batch]:
        """The rows at these places as so many batches of equal size."""
        block, size = self.rows(places), len(places) // num_batches
        for number in range(num_batches):
            yield block.take(slice(number * size, (number + 1) * size))

    def rows(self, places: np.ndarray) -> Batch:
        """The rows at these places, int64 [n], decoded.

        Raises:
            DataError: an image cannot be decoded; names the file and the row group.
        """
        pool = self._pool
        try:
            values = {name: self._take(name, stored, places) for name, stored in pool.values.items()}
        except DataError:
            for place in places:  # the first that cannot be decoded is named
                self._files.decode(pool.take(np.array([place])))
            raise
        return Batch(values, pool.id_hashes[places], pool.copies[places], pool.rows[places])

    def _take(self, name: str, stored: np.ndarray, places: np.ndarray) -> np.ndarray:
        column = self._files.large.get(name)
        if column is None:
            return stored[places]
        out = self._room(name, len(places), column.feature)
        column.take(stored, places, out)
        return out

    def _room(self, name: str, num_rows: int, feature: Feature) -> np.ndarray:
        """Memory for values of a feature, [n, *shape], aligned, of any contents."""
        num_bytes = num_rows * feature.num_bytes
        large = [buffer for buffer in self._buffers[name] if len(buffer) >= num_bytes + ALIGNMENT_BYTES]
        # An array that shows a part of a buffer refers to the buffer. Where nobody else does, these do: the two lists,
        # the loop's variable, and getrefcount's own argument.
        free = [buffer for buffer in large if sys.getrefcount(buffer) <= 4]
        if not free:
            free = [np.empty(num_bytes + ALIGNMENT_BYTES, np.uint8)]
            self._buffers[name] = [*large, *free]
        first = -free[0].ctypes.data % ALIGNMENT_BYTES
        return free[0][first : first + num_bytes].view(feature.dtype).reshape(num_rows, *feature.shape)


def check_memory(manifest: Manifest, rank_slice: Slice, limit_bytes: int) -> int:
    """Bytes of input that the reader of this slice holds, which must fit train.reader_memory_bytes.

    Windows and the row groups that reach into the next ones as they are stored, batches that are ready as pixels.

    Raises:
        ResourceError: they do not; says which key to change.
    """
    group_rows = int(np.diff(rank_slice.plan.row_group_ends, prepend=0).max())
    lengths = _held_rows(rank_slice)
    held_rows = int((lengths + group_rows).sum())
    held_bytes = held_rows * manifest.row_bytes("train")
    needed = held_bytes + _ready_bytes(manifest.sample.num_bytes, rank_slice.num_rows(0))
    if needed > limit_bytes:
        raise ResourceError(
            f"the reader of rank {rank_slice.rank} needs {needed} bytes ({held_rows} rows in {len(lengths)} "
            f"streams), train.reader_memory_bytes is {limit_bytes}; raise it, or take more ranks"
        )
    return needed


def check_batches(image_bytes: int, batch_rows: int, limit_bytes: int) -> None:
    """Refuses, before there is any data, what train.reader_memory_bytes cannot hold whatever the data.

    Args:
        image_bytes: of an image as pixels.
        batch_rows: of a rank.
        limit_bytes: train.reader_memory_bytes.

    Raises:
        ResourceError: the batches alone do not fit.
    """
    needed = _ready_bytes(image_bytes, batch_rows)
    if needed > limit_bytes:
        raise ResourceError(
            f"the batches alone that a rank keeps ready take {needed} bytes ({batch_rows} images of {image_bytes} "
            f"bytes each), train.reader_memory_bytes is {limit_bytes}; raise it, lower train.global_batch_size, or "
            f"take more ranks"
        )


def _ready_bytes(image_bytes: int, batch_rows: int) -> int:
    """Of the batches of so many rows that are there as pixels at once."""
    return READY_BATCHES * batch_rows * image_bytes + 2 * BLOCK_BYTES
