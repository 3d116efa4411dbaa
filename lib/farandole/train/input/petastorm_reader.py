"""The same rows through petastorm, for those who have it in production: in its own order, under our accounting.

petastorm hands out row groups in the order in which its threads finish. A rank keeps those rows that the plan gives
it and fills batches of the planned sizes with them as they come. So counts, receipts and the number of steps are
those of the plan, but which rows share a batch is not: runs are not repeatable to the bit, a resume starts at the
beginning of an epoch, and every rank scans every file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farandole.core.batches.reader import Batch, SplitFiles, concatenate
from farandole.core.fingerprint import hash_ids
from farandole.core.plan.epoch_plan import Slice
from farandole.errors import DataError
from farandole.train.input.import_petastorm import LOCAL_FILES, import_petastorm

NUM_WORKERS = 2
"""How many threads petastorm reads with."""


def read_with_petastorm(files: SplitFiles, rank_slice: Slice, *, start_step: int = 0) -> Iterator[Batch]:
    """Yields this rank's batches of one epoch, with the planned number of rows at every step.

    Raises:
        DataError: petastorm delivered a row twice or not at all; names the file and the row group.
    """
    if start_step:
        raise DataError(f"the petastorm reader cannot start at step {start_step} of an epoch, only at its beginning")
    mine = _own_rows(files, rank_slice)
    missing = mine.copy()
    source = _row_groups(files)
    pending = files.no_rows()
    plan = rank_slice.plan
    for step in range(plan.num_steps):
        needed = rank_slice.num_rows(step)
        while len(pending) < needed:
            found = next(source, None)
            if found is None:
                raise DataError(_describe_loss(files, missing, rank_slice))
            own = _take_own(files, found, mine, missing)
            pending = concatenate([pending, own])
        yield pending.take(slice(0, needed))
        pending = pending.take(slice(needed, None))


def _take_own(files: SplitFiles, found: Batch, mine: np.ndarray, missing: np.ndarray) -> Batch:
    """Keeps this rank's rows of a row group, and marks them as seen."""
    own = found.take(mine[found.rows])
    again = own.rows[~missing[own.rows]]
    if len(again):
        name = files.name(files.group_of(again[0]))
        raise DataError(f'petastorm delivered row {again[0]} twice, in {name}; use train.reader = "arrow"')
    missing[own.rows] = False
    return own


def _own_rows(files: SplitFiles, rank_slice: Slice) -> np.ndarray:
    """bool [N]: which rows of the split the plan gives to this rank."""
    plan = rank_slice.plan
    own = np.zeros(plan.num_rows, bool)
    for stream in rank_slice.streams:
        for positions in rank_slice.windows(stream):
            row_groups, indices = plan.locate(positions)
            own[files.starts[row_groups] + indices] = True
    return own


def _row_groups(files: SplitFiles) -> Iterator[Batch]:
    files.verify()
    petastorm = import_petastorm()
    for path in files.paths:
        for parent in list(path.parents)[:3]:
            for name in ("_common_metadata", "_metadata"):
                if (parent / name).exists():
                    raise DataError(f"{parent} has a {name}, which petastorm would unpickle; refused; remove it")
    with petastorm.make_batch_reader(
        [_url(path) for path in files.paths],
        schema_fields=files.columns,
        workers_count=NUM_WORKERS,
        results_queue_size=NUM_WORKERS,
        shuffle_row_groups=False,
        num_epochs=1,
        filesystem=LOCAL_FILES,
    ) as reader:
        for item in reader:
            yield _to_batch(files, item)


def _url(path: Path) -> str:
    # Not path.as_uri(): petastorm takes a URL apart, but does not decode its %3D back to the = of split=train.
    if set("#?%;") & set(str(path)):
        raise DataError(f'petastorm cannot read {path}, since it has one of #?%; in it; use train.reader = "arrow"')
    return f"file://{path}"


def _to_batch(files: SplitFiles, item: Any) -> Batch:
    rows = np.asarray(item.row, np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < files.starts[-1]:
        raise DataError(f"petastorm delivered rows {rows.min()} to {rows.max()}; the split has {files.starts[-1]}")
    values = {}
    for name, feature in files.sample.features.items():
        found, column = getattr(item, name), files.large.get(name)
        if column is None:
            values[name] = np.asarray(found, feature.dtype)
        else:
            values[name] = column.decode(column.read(found, "a file of the split"))
    return Batch(values, hash_ids(item.id), np.asarray(item.copy, np.int32), rows)


def _describe_loss(files: SplitFiles, missing: np.ndarray, rank_slice: Slice) -> str:
    lost = np.flatnonzero(missing)
    planned = sum(rank_slice.num_rows(step) for step in range(rank_slice.plan.num_steps))
    return (
        f"epoch {rank_slice.plan.epoch}: {planned} rows planned for rank {rank_slice.rank}, petastorm delivered "
        f"{planned - len(lost)}; the first missing is row {lost[0]}, in {files.name(files.group_of(lost[0]))}; "
        f'use train.reader = "arrow"'
    )
