"""clean/ -> balanced/: even classes, equal files, equal row groups, in an order that a hash decides.

Every row has keys that depend on its id, its copy number and the seed alone. A class is cut at exact order
statistics of these keys, so the outcome depends neither on how the clean rows lie in files nor on who works on them
when. The driver sees counts and a bounded number of keys; rows go from map to reduce tasks through spill files.
"""

import functools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

import farandole
from farandole.config.layout import Balance, Layout
from farandole.core.dataset import commit
from farandole.core.dataset.manifest import FILE_NAME, Manifest, SplitEntry
from farandole.core.dataset.schema import SPLITS
from farandole.core.dataset.versions import Origin, Version
from farandole.core.plan.balance import plan_balance
from farandole.core.plan.layout import rows_within
from farandole.core.plan.order_statistics import Combine, Measure, Scan, keys_at_ranks
from farandole.core.plan.rebalance_plan import Piece, RebalancePlan, plan_rebalance
from farandole.errors import DataError
from farandole.log import say
from farandole.spark.rebalance.balance_line import balance_line
from farandole.spark.rebalance.keep import keep_files
from farandole.spark.rebalance.move import (
    Cuts,
    Written,
    order_keys,
    pile_up,
    select_keys,
    spill,
    write_from_piles,
    write_from_spill,
)
from farandole.spark.rebalance.tally import Moved, check_moved, sum_tallies
from farandole.spark.tasks import MAX_TASK_BYTES, plan_num_tasks, reduce_tasks, run_tasks

MAX_DRIVER_ROWS = 2**18
"""Ids and labels of so many rows are read by the driver: about 0.2 s."""
MAX_DRIVER_BYTES = MAX_TASK_BYTES
"""Images of so many bytes are moved by the driver; as much as one Spark task moves."""


def rebalance(
    spark: SparkSession, rules: Balance, layout: Layout, version: Version, target: Path, origin: Origin
) -> Manifest:
    """Writes a version of balanced/ from one of clean/; the same bytes on every run, whatever the cluster.

    The train split is balanced by `rules`; val and test keep their rows. All three are laid out in globally shuffled
    order as files whose rows, and up to MAX_CUTS whose rows of any one class, differ by at most one; unless
    layout.rewrite is "auto" and core/plan/rewrite_plan.py finds that the files of clean/ will do as they are.

    Args:
        spark: a running session.
        rules: which classes are evened out, and how.
        layout: how the rows are laid out in files.
        version: of clean/.
        target: the directory that is written.
        origin: of what is written; goes into its manifest.

    Returns:
        The manifest that was written.

    Raises:
        DataError: a train class has no rows, a clean file is damaged or not what its manifest says, an id
            occurs twice, or two rows share a 64-bit key.
        ConflictError: another process is writing the same version.
        ResourceError: the disk is full; where it is before the start, not a row is written.
    """
    clean = version.manifest
    before = clean.splits["train"].class_counts
    balance = plan_balance(before, strategy=rules.strategy, max_repeats=rules.max_repeats)
    plan = plan_rebalance(clean, balance, version.directory, seed=rules.seed, num_files=layout.num_files)
    line = balance_line(rules, before, balance.targets)
    if line:
        say(line)
    with commit.new_directory(target) as directory:
        kept = layout.rewrite == "auto" and keep_files(spark, clean, balance, plan, layout, directory)
        changed = {
            "stage": "rebalance",
            "created_by": f"farandole {farandole.__version__}",
            "config_fingerprint": origin.config_fingerprint,
            "parent_fingerprint": origin.parent_fingerprint,
            "splits": clean.splits if kept else _rewrite(spark, layout, clean, plan, target, directory),
            "even_by": "" if kept else plan.even_by,
            "class_weights": balance.class_weights,
            "class_counts_before": before,
        }
        manifest = Manifest(**clean.model_dump() | changed)
        commit.write_text(directory / FILE_NAME, manifest.to_json())
    return manifest


def _rewrite(
    spark: SparkSession, layout: Layout, clean: Manifest, plan: RebalancePlan, target: Path, directory: Path
) -> dict[str, SplitEntry]:
    through = _through_memory if plan.num_bytes <= MAX_DRIVER_BYTES else _through_spill
    # On disk at a time: every image in its output file, and in a spill file where there are any.
    copies = 2 if through is _through_spill else 1
    commit.check_free(target, copies * int(plan.targets.sum()) * plan.row_bytes)
    cuts = _find_cuts(spark, plan)
    rows_per_row_group = rows_within(layout.rows_per_row_group, plan.row_bytes)
    moved, written = through(spark, plan, cuts, directory, clean, rows_per_row_group)
    return _split_entries(plan, moved, written)


def _through_memory(
    spark: SparkSession, plan: RebalancePlan, cuts: Cuts, directory: Path, clean: Manifest, rows_per_row_group: int
) -> tuple[list[Moved], list[Written]]:
    """Small data: threads of the driver do it in less CPU time than Spark takes to start jobs, without a spill."""
    with ThreadPoolExecutor(spark.sparkContext.defaultParallelism) as threads:
        moved, piles = zip(*threads.map(functools.partial(pile_up, plan, cuts), range(len(plan.pieces))), strict=True)
        check_moved(plan, clean, list(moved))
        reduce_task = functools.partial(write_from_piles, plan, list(piles), directory, rows_per_row_group)
        return list(moved), list(threads.map(reduce_task, range(plan.num_files)))


def _through_spill(
    spark: SparkSession, plan: RebalancePlan, cuts: Cuts, directory: Path, clean: Manifest, rows_per_row_group: int
) -> tuple[list[Moved], list[Written]]:
    """Data of any size: two bounded passes of Spark tasks."""
    spilled = directory / ".spill"
    spilled.mkdir()
    map_task = functools.partial(spill, plan, cuts, spilled)
    num_tasks = _num_tasks(spark, plan, plan.counts)
    moved = run_tasks(
        spark,
        "rebalance: sort rows by file",
        len(plan.pieces),
        map_task,
        num_tasks=num_tasks,
        failure_mark=spilled / "failed",
    )
    check_moved(plan, clean, moved)
    reduce_task = functools.partial(write_from_spill, plan, spilled, directory, rows_per_row_group)
    num_tasks = _num_tasks(spark, plan, plan.targets)
    written = run_tasks(spark, "rebalance: write files", plan.num_files, reduce_task, num_tasks=num_tasks)
    shutil.rmtree(spilled)
    return moved, written


def _num_tasks(spark: SparkSession, plan: RebalancePlan, counts: np.ndarray) -> int:
    return plan_num_tasks(int(counts.sum()) * plan.row_bytes, spark.sparkContext.defaultParallelism)


def _find_cuts(spark: SparkSession, plan: RebalancePlan) -> Cuts:
    """Which rows are written once more, and which keys begin the files."""
    select = np.zeros(len(plan.counts), dtype=np.uint64)
    chosen = np.flatnonzero(plan.extras)
    if len(chosen):
        scan = _scan(spark, "rebalance: select images", plan, functools.partial(select_keys, plan))
        ranks = [plan.extras[group : group + 1] if plan.extras[group] else chosen[:0] for group in range(len(select))]
        select[chosen] = np.concatenate(keys_at_ranks(scan, plan.counts, ranks))
    # The first row of file f + 1 has as many rows of its class before it as files 0 to f get. Where no row of the
    # class is left for file f + 1, the cut is the largest key there is.
    starts = plan.starts()
    taken = [rank < count for rank, count in zip(starts, plan.cut_counts, strict=True)]
    scan = _scan(spark, "rebalance: cut files", plan, functools.partial(order_keys, plan, select))
    keys = keys_at_ranks(scan, plan.cut_counts, [rank[inside] for rank, inside in zip(starts, taken, strict=True)])
    order = [np.full(len(rank), np.iinfo(np.uint64).max, dtype=np.uint64) for rank in starts]
    for cuts, inside, found in zip(order, taken, keys, strict=True):
        cuts[inside] = found
    return Cuts(select, order)


def _scan(
    spark: SparkSession, description: str, plan: RebalancePlan, keys: Callable[[Piece], tuple[np.ndarray, np.ndarray]]
) -> Scan:
    """Passes over the keys of all pieces; few keys, on the driver, where it takes less than Spark takes to start a job.

    Else a task combines its pieces, and there are no more tasks than cores.
    """
    on_driver = plan.counts.sum() <= MAX_DRIVER_ROWS
    num_tasks = 1 if on_driver else min(len(plan.pieces), spark.sparkContext.defaultParallelism)

    def scan(measure: Measure, combine: Combine) -> np.ndarray:
        def task(number: int) -> np.ndarray:
            return functools.reduce(combine, (measure(*keys(piece)) for piece in plan.pieces[number::num_tasks]))

        return task(0) if on_driver else reduce_tasks(spark, description, num_tasks, task, combine)

    return scan


def _split_entries(plan: RebalancePlan, moved: list[Moved], written: list[Written]) -> dict[str, SplitEntry]:
    """The output files by split; every (id, copy) that a map task sent has arrived, as the checksums show."""
    entries = {}
    for index, name in enumerate(SPLITS):
        first = plan.first_file(index)
        files = written[first : first + plan.files_of[index]]
        checksum = sum(file.checksum for file in files) % 2**64
        sent = sum_tallies(plan, index, [task.copied for task in moved]).ids
        if checksum != sent:
            raise DataError(
                f"balanced split {name} has id_checksum {checksum:016x}, the rows sent to it {sent:016x}: "
                f"rows were lost between tasks; run rebalance again"
            )
        targets = plan.targets.reshape(len(SPLITS), -1)[index].tolist()
        entries[name] = SplitEntry(
            num_rows=sum(targets),
            class_counts=dict(zip(plan.sample.class_names, targets, strict=True)),
            id_checksum=f"{checksum:016x}",
            files=[file.entry for file in files],
        )
    return entries
