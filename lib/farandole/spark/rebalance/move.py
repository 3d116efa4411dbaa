"""The tasks of rebalance: what an executor does with one piece of clean/ or for one file of balanced/."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import open_file, read_row_group, write_rows
from farandole.core.dataset.schema import SPLITS, balanced_schema, clean_schema
from farandole.core.fingerprint import hash_ids, id_checksum, row_keys
from farandole.core.plan.balance import expand_copies
from farandole.core.plan.layout import first_row_of_file, split_evenly
from farandole.core.plan.rebalance_plan import MAX_PIECE_BYTES, Piece, RebalancePlan
from farandole.errors import DataError
from farandole.spark.rebalance.tally import Moved, tally_rows
from farandole.spark.spill import Pile, make_pile, read_spill, spilled_schema, write_spill


@dataclass(frozen=True)
class Cuts:
    """Where the sorted keys of each group are cut."""

    select: np.ndarray
    """uint64 [num_groups]: rows whose select key is below it are written once more."""
    order: list[np.ndarray]
    """For each group, or each split where plan.even_by is "rows", uint64 [files of the split - 1]: the order keys that
    begin every file but the first."""


@dataclass(frozen=True)
class Copies:
    """The rows that a piece becomes, [m] each."""

    positions: np.ndarray
    """int64: the row of the piece."""
    numbers: np.ndarray
    """int32: 0 for the image itself, 1.. for its repeats."""
    hashes: np.ndarray
    """uint64, of the image ids."""
    groups: np.ndarray
    """int64."""
    keys: np.ndarray
    """uint64: their order keys."""


@dataclass(frozen=True)
class Written:
    """One output file: its manifest entry, and its id checksum."""

    entry: FileEntry
    checksum: int


def select_keys(plan: RebalancePlan, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
    """Group int64 [n] and select key uint64 [n] of every row of a piece."""
    hashes, groups = _identify(plan, piece, _read(plan, piece, ["id", "label"]))
    return groups, row_keys(hashes, 0, plan.seed, "select")


def order_keys(plan: RebalancePlan, select: np.ndarray, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
    """What is cut, int64 [m], and order key uint64 [m] of every copy that a piece becomes."""
    hashes, groups = _identify(plan, piece, _read(plan, piece, ["id", "label"]))
    copies = _copy(plan, select, hashes, groups)
    return plan.cut_of(copies.groups), copies.keys


def pile_up(plan: RebalancePlan, cuts: Cuts, number: int) -> tuple[Moved, Pile]:
    """Map: reads piece `number`, and decides what goes where.

    Raises:
        DataError: the file is damaged or holds an unknown label.
    """
    piece = plan.pieces[number]
    schema = clean_schema(plan.side_columns)
    rows = _read(plan, piece, schema.names).combine_chunks().cast(schema)
    hashes, groups = _identify(plan, piece, rows)
    copies = _copy(plan, cuts.select, hashes, groups)
    pile = make_pile(
        rows,
        positions=copies.positions,
        copies=copies.numbers,
        keys=copies.keys,
        files=plan.first_file(piece.split) + _files_of(plan, copies, cuts),
        num_files=plan.num_files,
    )
    numbers = np.zeros(len(hashes), np.int32)
    moved = Moved(tally_rows(hashes, numbers, groups), tally_rows(copies.hashes, copies.numbers, copies.groups))
    return moved, pile


def spill(plan: RebalancePlan, cuts: Cuts, directory: Path, number: int) -> Moved:
    """Map, where executors share nothing but a file system: the pile goes to directory/NUMBER.arrow."""
    moved, pile = pile_up(plan, cuts, number)
    schema, max_rows = spilled_schema(plan.side_columns), _max_batch_rows(plan)
    files = (pile.batches(file, schema, max_rows) for file in range(plan.num_files))
    write_spill(directory / f"{number}.arrow", schema, files)
    return moved


def write_from_piles(
    plan: RebalancePlan, piles: list[Pile], directory: Path, rows_per_row_group: int, number: int
) -> Written:
    """Reduce, where the piles are in memory: as `write`."""
    schema = spilled_schema(plan.side_columns)
    batches = [batch for pile in piles for batch in pile.batches(number, schema, _max_batch_rows(plan))]
    return write(plan, batches, directory, rows_per_row_group, number)


def write_from_spill(
    plan: RebalancePlan, spilled: Path, directory: Path, rows_per_row_group: int, number: int
) -> Written:
    """Reduce, where the piles are in files; images are copied straight from the memory maps."""
    schema = spilled_schema(plan.side_columns)
    paths = [spilled / f"{piece}.arrow" for piece in range(len(plan.pieces))]
    batches = [batch for path in paths for batch in read_spill(path, schema, number, plan.num_files)]
    return write(plan, batches, directory, rows_per_row_group, number)


def write(
    plan: RebalancePlan, batches: list[pa.RecordBatch], directory: Path, rows_per_row_group: int, number: int
) -> Written:
    """Sorts all rows of output file `number`, and writes them; images are copied for one row group at a time.

    Raises:
        DataError: an id occurs twice, or rows are not as many as planned.
    """
    split, index = plan.place(number)
    schema = spilled_schema(plan.side_columns)
    images = [batch.column("image") for batch in batches]
    rows = pa.Table.from_batches(batches, schema).drop_columns("image").combine_chunks()
    path = f"data/split={SPLITS[split]}/part-{index:05d}.parquet"
    _check_counts(plan, number, path, rows["label"].to_numpy())
    names = [("key", "ascending"), ("id", "ascending"), ("copy", "ascending")]
    order = pc.sort_indices(rows, sort_keys=names).to_numpy()
    _refuse_duplicates(plan, rows, order)
    num_rows = int(plan.targets.reshape(len(SPLITS), -1)[split].sum())
    first_row = first_row_of_file(num_rows, plan.files_of[split], index)
    stored = balanced_schema(plan.side_columns)
    row_groups = _row_groups(rows, images, stored, order, first_row, split_evenly(len(order), rows_per_row_group))
    return Written(
        entry=write_rows(directory, path, stored, row_groups, plan.sample),
        checksum=id_checksum(hash_ids(rows["id"]), rows["copy"].to_numpy()),
    )


def _check_counts(plan: RebalancePlan, number: int, path: str, labels: np.ndarray) -> None:
    planned = plan.rows_of(number)
    by_class = plan.even_by == "class"
    found = np.bincount(labels if by_class else np.zeros_like(labels), minlength=len(planned))
    other = np.flatnonzero(found != planned)
    if len(other):
        names = f" of class {plan.sample.class_names[other[0]]!r}" if by_class else ""
        raise DataError(
            f"balanced/{path} would get {found[other[0]]} rows{names}, {planned[other[0]]} are planned: "
            f"two rows share a 64-bit key; change balance.seed"
        )


def _max_batch_rows(plan: RebalancePlan) -> int:
    return max(MAX_PIECE_BYTES // 4 // plan.row_bytes, 1)


def _read(plan: RebalancePlan, piece: Piece, columns: list[str]) -> pa.Table:
    tables = []
    for run in piece.runs:
        file, path = open_file(plan.clean, run.entry), plan.clean / run.entry.path
        tables += [read_row_group(file, path, index, columns) for index in range(run.first, run.stop)]
    return pa.concat_tables(tables)


def _identify(plan: RebalancePlan, piece: Piece, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Id hash and group of every row."""
    labels = rows["label"].to_numpy().astype(np.int64)
    num_classes = len(plan.sample.class_names)
    unknown = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(unknown):
        ends = np.cumsum([run.num_rows for run in piece.runs])
        run = piece.runs[int(np.searchsorted(ends, unknown[0], side="right"))]
        raise DataError(
            f"{plan.clean / run.entry.path} holds label {labels[unknown[0]]}, the manifest knows 0 to "
            f"{num_classes - 1}; run preprocess again"
        )
    return hash_ids(rows["id"]), piece.split * num_classes + labels


def _copy(plan: RebalancePlan, select: np.ndarray, hashes: np.ndarray, groups: np.ndarray) -> Copies:
    once_more = row_keys(hashes, 0, plan.seed, "select") < select[groups]
    positions, numbers = expand_copies(plan.repeats[groups] + once_more)
    hashes = hashes[positions]
    return Copies(positions, numbers, hashes, groups[positions], row_keys(hashes, numbers, plan.seed, "order"))


def _files_of(plan: RebalancePlan, copies: Copies, cuts: Cuts) -> np.ndarray:
    """Index in its split of the file that each copy goes to, int64 [m]."""
    files, cut_of = np.empty(len(copies.keys), dtype=np.int64), plan.cut_of(copies.groups)
    by_group = np.argsort(cut_of, kind="stable")
    groups, starts = np.unique(cut_of[by_group], return_index=True)
    for group, members in zip(groups, np.split(by_group, starts[1:]), strict=True):
        files[members] = np.searchsorted(cuts.order[group], copies.keys[members], side="right")
    return files


def _refuse_duplicates(plan: RebalancePlan, rows: pa.Table, order: np.ndarray) -> None:
    """The same (id, copy) twice has the same key twice, so both are in this file, side by side."""
    keys = rows["key"].to_numpy()[order]
    for at in np.flatnonzero(keys[1:] == keys[:-1]).tolist():
        one, other = (rows["id"][int(order[i])].as_py() for i in (at, at + 1))
        if one == other:
            raise DataError(f"id {one!r} occurs twice in {plan.clean}; run preprocess again")


def _row_groups(
    rows: pa.Table, images: list[pa.Array], schema: pa.Schema, order: np.ndarray, first_row: int, sizes: list[int]
) -> Iterator[pa.Table]:
    starts = np.cumsum([0, *(len(array) for array in images)])
    first = 0
    for size in sizes:
        positions = order[first : first + size]
        numbers = np.arange(first_row + first, first_row + first + size, dtype=np.int64)
        taken = rows.take(pa.array(positions)).drop_columns("key").append_column("row", pa.array(numbers))
        yield taken.append_column("image", _gather(images, starts, positions)).select(schema.names)
        first += size


def _gather(arrays: list[pa.Array], starts: np.ndarray, positions: np.ndarray) -> pa.Array:
    """What stands at the positions of arrays that are thought of as one, in which each begins at its start.

    Arrow would join whole arrays first. Every array is sorted by key, so that the rows of a row group lie together in
    it, and the slices that hold them are small enough for the processor's caches.
    """
    ascending = np.sort(positions)
    ends = np.searchsorted(ascending, starts)
    used = np.flatnonzero(np.diff(ends))
    low, high = ascending[ends[used]], ascending[ends[used + 1] - 1] + 1
    spans = zip(used, low - starts[used], high - low, strict=True)
    joined = pa.concat_arrays([arrays[i].slice(int(offset), int(length)) for i, offset, length in spans])
    moved = low - (np.cumsum(high - low) - (high - low))  # how much further to the front a slice stands in `joined`
    return joined.take(pa.array(positions - moved[np.searchsorted(low, positions, side="right") - 1]))
