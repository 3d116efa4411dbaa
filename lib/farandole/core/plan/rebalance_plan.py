"""Everything about rebalancing that follows from counts: which task reads what, and how many rows go where."""

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np

from farandole.core.dataset.manifest import FileEntry, Manifest, SplitEntry
from farandole.core.dataset.sample import Sample
from farandole.core.dataset.schema import SPLITS
from farandole.core.plan import layout
from farandole.core.plan.balance import BalancePlan

MIN_PIECE_BYTES, MAX_PIECE_BYTES = 6 * 1024 * 1024, 64 * 1024 * 1024
"""Between how many bytes of images a piece has: the fewer, the more of them stay in the processor's caches."""
MIN_PIECE_ROWS_PER_FILE = 32
"""How many rows a piece sends to each output file, on average, at least: fewer would make more piles than need be."""
MAX_CUTS = 2**18
"""Between files, of all classes together: every task is told them, in 2 MB. Where there would be more, a file holds few
rows of most classes, or there are tens of thousands of files."""


@dataclass(frozen=True)
class RowGroupRun:
    """Consecutive row groups of one clean file."""

    entry: FileEntry
    first: int
    """The number, in the file, of the first of them."""
    stop: int
    """The number after that of the last of them."""

    @property
    def num_rows(self) -> int:
        return sum(self.entry.row_groups[self.first : self.stop])


@dataclass(frozen=True)
class Piece:
    """What a map task sorts at a time: a part of a large file, or several small ones."""

    split: int
    """Which split the rows are of, as an index into schema.SPLITS."""
    runs: list[RowGroupRun]


@dataclass(frozen=True)
class RebalancePlan:
    """Who gets what. A group is one class of one split: split * num_classes + label."""

    clean: Path
    sample: Sample
    side_columns: dict[str, str]
    """The columns that go with each image, as in Manifest.side_columns."""
    pieces: list[Piece]
    seed: int
    row_bytes: int
    """How many bytes an image takes in a file, on average."""
    counts: np.ndarray
    """How many rows each group has in clean/, int64 [groups]."""
    repeats: np.ndarray
    """How often every row of each group is written, int64 [groups]."""
    extras: np.ndarray
    """How many rows of each group are written once more than the others, int64 [groups]."""
    targets: np.ndarray
    """How many rows each group has in balanced/, int64 [groups]."""
    files_of: list[int]
    """How many files each split gets."""
    even_by: Literal["class", "rows"]
    """What differs by at most one row from file to file of a split: the rows of any one class, and so all of them; or,
    where that would take more than MAX_CUTS cuts, all rows, and the classes as chance has it."""

    @property
    def num_bytes(self) -> int:
        """Of the images in clean/ or in balanced/, whichever are more."""
        return int(max(self.counts.sum(), self.targets.sum())) * self.row_bytes

    @property
    def num_files(self) -> int:
        """Output files of all splits together; they are numbered through."""
        return sum(self.files_of)

    def first_file(self, split: int) -> int:
        """Number of the split's first file."""
        return sum(self.files_of[:split])

    def place(self, number: int) -> tuple[int, int]:
        """Split of a numbered file, and its index in that split."""
        split = max(split for split, files in enumerate(self.files_of) if files and self.first_file(split) <= number)
        return split, number - self.first_file(split)

    @property
    def cut_counts(self) -> np.ndarray:
        """How many rows in balanced/ each of those has that are cut: the groups, or else the splits; int64 [cut]."""
        return self.targets if self.even_by == "class" else self.targets.reshape(len(SPLITS), -1).sum(axis=1)

    def cut_of(self, groups: np.ndarray) -> np.ndarray:
        """Which of those each row is of, by its group; int64 [n]."""
        return groups if self.even_by == "class" else groups // len(self.sample.class_names)

    def starts(self) -> list[np.ndarray]:
        """For each of those int64 [files of the split - 1]: its rows before each file but the first."""
        per_split = np.array_split(self.cut_counts, len(SPLITS))
        return [
            np.cumsum(of_one)[:-1]
            for counts, files in zip(per_split, self.files_of, strict=True)
            for of_one in layout.deal_classes(counts, files)
        ]

    def rows_of(self, number: int) -> np.ndarray:
        """How many rows a numbered file gets of each of those that its split is cut by, int64 [classes] or [1]."""
        split, index = self.place(number)
        return layout.rows_of_file(np.array_split(self.cut_counts, len(SPLITS))[split], self.files_of[split], index)


def plan_rebalance(
    clean: Manifest, balance: BalancePlan, directory: Path, *, seed: int, num_files: int
) -> RebalancePlan:
    """All counts, before a row is read; the plan's memory grows with files and classes, not with images.

    Args:
        clean: the manifest of clean/.
        balance: of its train split; val and test keep their rows.
        directory: where clean/ is.
        seed: balance.seed.
        num_files: layout.num_files.
    """
    names = clean.class_names
    splits = [clean.splits[split] for split in SPLITS]
    counts = np.array([[split.class_counts[name] for name in names] for split in splits], dtype=np.int64)
    repeats, extras = np.ones_like(counts), np.zeros_like(counts)
    repeats[0] = [balance.repeats[name] for name in names]
    extras[0] = [balance.extras[name] for name in names]
    targets = counts * repeats + extras
    # Of raw images no matter of how the clean rows lie in files, so neither is the number of files.
    row_bytes = clean.row_bytes(*SPLITS)
    train_rows, *other_rows = targets.sum(axis=1).tolist()
    train_files = layout.num_files_for_bytes(train_rows, train_rows * row_bytes, num_files)
    others = (layout.num_files_like(rows, rows * row_bytes, train_rows, train_files) for rows in other_rows)
    files_of = [train_files, *others]
    return RebalancePlan(
        clean=directory,
        sample=clean.sample,
        side_columns=clean.side_columns,
        pieces=_plan_pieces(splits, _piece_bytes(row_bytes, sum(files_of)) // row_bytes),
        seed=seed,
        row_bytes=row_bytes,
        counts=counts.ravel(),
        repeats=repeats.ravel(),
        extras=extras.ravel(),
        targets=targets.ravel(),
        files_of=files_of,
        even_by="class" if len(names) * sum(max(files - 1, 0) for files in files_of) <= MAX_CUTS else "rows",
    )


def _piece_bytes(row_bytes: int, num_files: int) -> int:
    return min(max(MIN_PIECE_ROWS_PER_FILE * num_files * row_bytes, MIN_PIECE_BYTES), MAX_PIECE_BYTES)


def _plan_pieces(splits: list[SplitEntry], max_rows: int) -> list[Piece]:
    pieces = []
    for index, split in enumerate(splits):
        groups = [(file, group) for file, entry in enumerate(split.files) for group in range(len(entry.row_groups))]
        sizes = [rows for entry in split.files for rows in entry.row_groups]
        for first, stop in layout.runs_within(sizes, max_rows):
            runs = []
            for file, of_file in groupby(groups[first:stop], key=itemgetter(0)):
                numbers = [group for _, group in of_file]
                runs.append(RowGroupRun(split.files[file], numbers[0], numbers[-1] + 1))
            pieces.append(Piece(index, runs))
    return pieces
