"""Rows -> files and row groups of equal size: every difference that remains is one row."""

from collections.abc import Sequence

import numpy as np

TARGET_FILE_BYTES = 64 * 1024 * 1024
"""About how large the files of balanced/ become where layout.num_files = 0 leaves that open."""

ROW_GROUP_BYTES = 3 * 1024 * 1024
"""How large a row group becomes at most, unless one row is larger. It is what a reader holds of each stream besides its
window, and what Arrow joins into one array, whose offsets end at 2 GB."""


def rows_within(requested: int, row_bytes: int) -> int:
    """Rows of a row group: as many as layout.rows_per_row_group says, and as ROW_GROUP_BYTES allows; at least one."""
    return max(1, min(requested, ROW_GROUP_BYTES // max(row_bytes, 1)))


def num_files_for_bytes(num_rows: int, num_bytes: int, requested: int) -> int:
    """Files of the train split: as requested, or where that is 0 as many as hold about 64 MB each.

    At least one file, unless there are no rows, and never more files than rows.
    """
    wanted = requested or -(-num_bytes // TARGET_FILE_BYTES)
    return min(max(wanted, 1), num_rows)


def num_files_like(num_rows: int, num_bytes: int, train_rows: int, train_files: int) -> int:
    """Files of val or test, so that their files hold about as many rows as those of train (within a factor of 2).

    But no more files than train has where these hold 64 MB: a few train rows, as undersampling may leave, would have a
    large test split cut into files of a few rows.
    """
    wanted = (2 * num_rows * train_files + train_rows) // (2 * train_rows)  # rounded to the nearest
    enough = max(train_files, -(-num_bytes // TARGET_FILE_BYTES))
    return min(max(min(wanted, enough), 1), num_rows)


def files_by_hash(hashes: np.ndarray, num_files: int) -> np.ndarray:
    """The file of each row, int64 [n]: the range of hashes, of num_files equal ones, in which its own lies.

    Args:
        hashes: uint64 [n], evenly spread.
        num_files: below 2**32.
    """
    return ((hashes >> np.uint64(32)) * np.uint64(num_files) >> np.uint64(32)).astype(np.int64)


def deal_classes(class_counts: Sequence[int] | np.ndarray, num_files: int) -> np.ndarray:
    """Rows of each class in each file, int64 [num_classes, num_files].

    Rows are dealt to the files in turn, one class after the other without starting anew. So the rows of a file
    differ by at most one from those of any other, and so do its rows of any one class.
    """
    counts = np.asarray(class_counts, dtype=np.int64)[:, None]
    offsets = np.cumsum(counts, axis=0) - counts  # where the deal stands when the class begins
    turn = (np.arange(num_files, dtype=np.int64)[None, :] - offsets) % max(num_files, 1)
    return counts // max(num_files, 1) + (turn < counts % max(num_files, 1))


def rows_of_file(class_counts: Sequence[int] | np.ndarray, num_files: int, index: int) -> np.ndarray:
    """The column of `deal_classes` for one file, int64 [num_classes], without the others."""
    counts = np.asarray(class_counts, dtype=np.int64)
    turn = (index - (np.cumsum(counts) - counts)) % num_files
    return counts // num_files + (turn < counts % num_files)


def first_row_of_file(num_rows: int, num_files: int, index: int) -> int:
    """How many rows of a split stand in the files before one."""
    return index * (num_rows // num_files) + min(index, num_rows % num_files)


def split_evenly(num_rows: int, max_rows: int) -> list[int]:
    """The fewest row groups of at most max_rows rows, the larger ones first; they differ by at most one row."""
    if num_rows == 0:
        return []
    num_groups = -(-num_rows // max_rows)
    small, larger = divmod(num_rows, num_groups)
    return [small + 1] * larger + [small] * (num_groups - larger)


def runs_within(sizes: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Consecutive (first, stop) ranges of sizes whose sums stay within limit; a size above it stands alone."""
    starts, total = [0] if sizes else [], 0
    for index, size in enumerate(sizes):
        if total + size > limit and index > starts[-1]:
            starts.append(index)
            total = 0
        total += size
    return list(zip(starts, [*starts[1:], len(sizes)], strict=True)) if sizes else []
