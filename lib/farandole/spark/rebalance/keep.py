"""clean/ -> balanced/ where rewriting does not pay: the same files under another manifest.

They are hard links, so they take no room and stay when the version of clean/ is removed; copies, where the file system
has no links. Columns `copy` and `row` are missing in them: no row is a copy, and the manifest says where a row stands.
"""

import os
import shutil
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from farandole.config.layout import Layout
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.parquet import open_file, read_row_group
from farandole.core.dataset.schema import SPLITS
from farandole.core.plan.balance import BalancePlan
from farandole.core.plan.rebalance_plan import RebalancePlan
from farandole.core.plan.rewrite_plan import (
    MAX_CLUSTERING,
    Mixing,
    clustering,
    measure_mixing,
    num_row_groups,
    why_rewrite,
)
from farandole.errors import DataError
from farandole.log import say
from farandole.spark.tasks import plan_num_tasks, run_tasks


def keep_files(
    spark: SparkSession, clean: Manifest, balance: BalancePlan, plan: RebalancePlan, layout: Layout, directory: Path
) -> bool:
    """Links the files of clean/ into `directory` where they will do; says whether they do, and why.

    The manifest is asked first. Then all files are compared with it and their labels are read, as tasks.

    Raises:
        DataError: a file is damaged, or its labels are not those that the manifest counts.
    """
    reason = why_rewrite(clean, balance, plan, layout)
    if reason is None:
        found = clustering(_read_mixing(spark, clean, plan), num_row_groups(clean))
        if found <= MAX_CLUSTERING:
            _link_files(clean, plan.clean, directory)
            say(
                f"rebalance: the files of clean/ are kept, because no row is added or dropped, they are even and "
                f"large enough, and classes are mixed: their clustering in row groups is {found:.4f}"
            )
            return True
        reason = f"classes are not mixed: their clustering in row groups is {found:.4f}, above {MAX_CLUSTERING}"
    say(f"rebalance: the files of clean/ are rewritten, because {reason}")
    return False


def _link_files(clean: Manifest, source: Path, target: Path) -> None:
    for split in clean.splits.values():
        for entry in split.files:
            (target / entry.path).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source / entry.path, target / entry.path)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source / entry.path, target / entry.path)


def _read_mixing(spark: SparkSession, clean: Manifest, plan: RebalancePlan) -> list[Mixing]:
    """Of every train file; files of val and test are compared with their manifest only."""
    places = [(index, entry) for index, split in enumerate(SPLITS) for entry in clean.splits[split].files]
    counts = np.array([clean.splits[split].class_counts[name] for split in SPLITS for name in clean.class_names])
    counts = counts.reshape(len(SPLITS), -1)

    def task(number: int) -> Mixing:
        split, entry = places[number]
        file, path = open_file(plan.clean, entry), plan.clean / entry.path
        labels = [
            read_row_group(file, path, group, ["label"])["label"].to_numpy() for group in range(file.num_row_groups)
        ]
        for label in (int(extreme) for group in labels for extreme in (group.min(), group.max())):
            if not 0 <= label < len(clean.class_names):
                raise DataError(
                    f"{path} holds label {label}, the manifest knows 0 to {len(clean.class_names) - 1}; "
                    f"run preprocess again"
                )
        return measure_mixing(labels, counts[split])

    num_tasks = plan_num_tasks(plan.num_bytes, spark.sparkContext.defaultParallelism)
    found = run_tasks(spark, "rebalance: look at clean/", len(places), task, num_tasks=num_tasks)
    for index, split in enumerate(SPLITS):
        of_split = [mixing.class_counts for mixing, (own, _) in zip(found, places, strict=True) if own == index]
        if of_split and not np.array_equal(np.sum(of_split, axis=0), counts[index]):
            raise DataError(
                f"{plan.clean}, split {split}: the files hold {np.sum(of_split, axis=0).tolist()} rows of the classes, "
                f"the manifest says {counts[index].tolist()}; run preprocess again"
            )
    return [mixing for mixing, (own, _) in zip(found, places, strict=True) if own == 0]
