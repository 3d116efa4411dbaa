"""Which rows make up which batch, and which rank takes which of them: pure arithmetic, the same on every rank.

One epoch has ONE global order of batches, whatever the number of ranks:

1. The row groups are put in a seeded order and laid end to end: N positions.
2. The positions are cut into S contiguous *streams*. Of every full batch of B rows, stream s supplies the rows at
   batch positions [s*B//S, (s+1)*B//S), and of the last, partial batch of R rows those at [s*R//S, (s+1)*R//S).
   Its length follows, so all streams end at the same step, and every row is in exactly one batch.
3. Inside a stream, rows are shuffled within windows of W rows.

A rank takes batch positions [r*n//world, (r+1)*n//world) of each batch of n rows, hence a contiguous run of streams,
hence a contiguous run of row groups: two ranks meet only in the streams where the cuts fall. Where batch k of an epoch
starts is a multiplication, so resuming there reads nothing that comes before it.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import fingerprint
from farandole.errors import ConfigError, DataError

MAX_STREAMS = 64
"""How many streams an epoch has at most, hence how many ranks can read without meeting in a stream."""
ROW_GROUPS_PER_STREAM = 8
"""How many row groups a stream has at least, so that at most one in eight is cut in two by the end of a stream."""
WINDOW_ROWS = 16_384
"""How many rows the windows of all streams hold together: how far apart two rows can be and still change places."""
WINDOW_BYTES = 192 * 1024 * 1024
"""How much they hold at most, which large pictures reach first, so that one rank alone can hold them."""


@dataclass(frozen=True)
class EpochPlan:
    """The global order of one epoch. Rows are named (row group, index in it); row groups count through the split."""

    epoch: int
    global_batch_size: int
    num_rows: int
    num_streams: int
    window_rows: int
    """How many consecutive rows of a stream are shuffled among each other."""
    row_group_order: np.ndarray
    """Numbers of the split's row groups in the order of the epoch, int64 [row groups]."""
    row_group_ends: np.ndarray
    """The position after the last row of each row group, in the order of the epoch, int64 [row groups]."""
    seed: int
    fingerprint: str
    """Names everything that decides the order, the data set included, in 64 hex digits."""

    @property
    def num_full_steps(self) -> int:
        return self.num_rows // self.global_batch_size

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the epoch, on every rank; the last one may be partial."""
        return -(-self.num_rows // self.global_batch_size)

    def batch_rows(self, step: int) -> int:
        """Rows of the global batch at `step`."""
        return min(self.global_batch_size, self.num_rows - step * self.global_batch_size)

    def supply(self, stream: int, batch_rows: int) -> tuple[int, int]:
        """The batch positions [first, last) that a stream fills in a batch of so many rows."""
        return stream * batch_rows // self.num_streams, (stream + 1) * batch_rows // self.num_streams

    @cached_property
    def stream_starts(self) -> np.ndarray:
        """int64 [S + 1], the position at which each stream starts; the last one is N."""
        edges = np.arange(self.num_streams + 1, dtype=np.int64)
        partial_rows = self.num_rows % self.global_batch_size
        full = self.num_full_steps * (edges * self.global_batch_size // self.num_streams)
        return full + edges * partial_rows // self.num_streams

    def window(self, stream: int, index: int) -> np.ndarray:
        """Positions, int64 [rows], of one window of a stream, in the order in which they are trained."""
        start = self.stream_starts[stream] + index * self.window_rows
        rows = min(self.window_rows, int(self.stream_starts[stream + 1] - start))
        rng = np.random.Generator(np.random.PCG64([self.seed, self.epoch, stream, index]))
        return start + rng.permutation(rows)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns positions, int64 [n], into row groups and the indices in them, both int64 [n]."""
        slots = np.searchsorted(self.row_group_ends, positions, side="right")
        starts = np.concatenate([np.zeros(1, np.int64), self.row_group_ends])
        return self.row_group_order[slots], positions - starts[slots]


@dataclass(frozen=True)
class Slice:
    """The rows of one rank: of each batch, a contiguous run of batch positions."""

    plan: EpochPlan
    rank: int
    world_size: int

    def positions(self, batch_rows: int) -> tuple[int, int]:
        """Batch positions [first, last) of this rank in a batch of so many rows."""
        return self.rank * batch_rows // self.world_size, (self.rank + 1) * batch_rows // self.world_size

    def num_rows(self, step: int) -> int:
        """Rows of this rank at `step`; ranks differ by at most one, and may have none of a small batch."""
        first, last = self.positions(self.plan.batch_rows(step))
        return last - first

    def share(self, stream: int, batch_rows: int) -> tuple[int, int]:
        """Which of a stream's rows of one batch are this rank's: [first, last), counted from the stream's first."""
        stream_first, stream_last = self.plan.supply(stream, batch_rows)
        first, last = self.positions(batch_rows)
        low = min(max(first, stream_first), stream_last) - stream_first
        high = min(max(last, stream_first), stream_last) - stream_first
        return low, high

    @cached_property
    def streams(self) -> list[int]:
        """The streams from which this rank takes any row."""
        sizes = {self.plan.batch_rows(0), self.plan.batch_rows(self.plan.num_steps - 1)}
        return [s for s in range(self.plan.num_streams) if any(np.diff(self.share(s, size))[0] > 0 for size in sizes)]

    def windows(self, stream: int, start_step: int = 0) -> Iterator[np.ndarray]:
        """Positions of this rank's rows of one stream from start_step on, int64, a window at a time, as trained."""
        plan = self.plan
        first, last = plan.supply(stream, plan.global_batch_size)
        length = int(plan.stream_starts[stream + 1] - plan.stream_starts[stream])
        for index in range(start_step * (last - first) // plan.window_rows, -(-length // plan.window_rows)):
            begin = index * plan.window_rows
            offsets = self._offsets(stream, begin, begin + plan.window_rows, start_step)
            if len(offsets):
                yield plan.window(stream, index)[offsets - begin]

    def _offsets(self, stream: int, begin: int, end: int, start_step: int) -> np.ndarray:
        """Offsets into a stream, int64, of this rank's rows in [begin, end) from start_step on, in training order."""
        plan = self.plan
        first, last = plan.supply(stream, plan.global_batch_size)
        low, high = self.share(stream, plan.global_batch_size)
        from_step = max(start_step, begin // (last - first))
        steps = np.arange(
            from_step, max(from_step, min(plan.num_full_steps, -(-end // (last - first)))), dtype=np.int64
        )
        offsets = (steps[:, None] * (last - first) + np.arange(low, high, dtype=np.int64)[None, :]).reshape(-1)
        if start_step < plan.num_steps:  # the partial batch, where there is one, comes after all full ones
            low, high = self.share(stream, plan.num_rows % plan.global_batch_size)
            partial = plan.num_full_steps * (last - first) + np.arange(low, high, dtype=np.int64)
            offsets = np.concatenate([offsets, partial])
        return offsets[(offsets >= begin) & (offsets < end)]


def plan_epoch(manifest: Manifest, *, epoch: int, seed: int, global_batch_size: int) -> EpochPlan:
    """Plans one pass over the train split.

    Args:
        manifest: of the balanced data set.
        epoch: from 0.
        seed: the user's seed; every epoch gets another order from it.
        global_batch_size: rows per optimizer step over all ranks.

    Raises:
        ConfigError: global_batch_size is not positive.
        DataError: the train split has no rows.
    """
    sizes = row_group_sizes(manifest, "train")
    if global_batch_size < 1:
        raise ConfigError(f"train.global_batch_size must be at least 1; received {global_batch_size}")
    if len(sizes) == 0:
        raise DataError("the train split has no rows; nothing can be trained on it")
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(sizes)).astype(np.int64)
    num_streams = max(1, min(MAX_STREAMS, global_batch_size, len(sizes) // ROW_GROUPS_PER_STREAM))
    row_bytes = manifest.row_bytes("train")
    window_rows = max(int(sizes.max()), min(WINDOW_ROWS, WINDOW_BYTES // row_bytes) // num_streams)
    return EpochPlan(
        epoch=epoch,
        global_batch_size=global_batch_size,
        num_rows=int(sizes.sum()),
        num_streams=num_streams,
        window_rows=window_rows,
        row_group_order=order,
        row_group_ends=np.cumsum(sizes[order]),
        seed=seed,
        # The drawn order is in it too, so that another numpy that draws differently is noticed.
        fingerprint=fingerprint(
            [
                manifest.fingerprint(),
                epoch,
                seed,
                global_batch_size,
                num_streams,
                window_rows,
                zlib.crc32(order.tobytes()),
            ]
        ),
    )


def slice_for(plan: EpochPlan, rank: int, world_size: int) -> Slice:
    """The rows of one rank out of world_size."""
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank must be in [0, {world_size}); received {rank}")
    return Slice(plan, rank, world_size)


def row_group_sizes(manifest: Manifest, split: str) -> np.ndarray:
    """Rows of every row group of a split, int64 [G], through its files in order."""
    return np.array([rows for file in manifest.splits[split].files for rows in file.row_groups], dtype=np.int64)
