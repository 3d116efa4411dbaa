"""Spark schedules, Arrow moves: a stage is a function of a task number, and what comes back are counts, never rows."""

import errno
import re
import sys
import zipimport
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from farandole.errors import FarandoleError, ResourceError

Result = TypeVar("Result")


MAX_TASK_BYTES, MIN_TASK_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024
"""Of images that one Spark task moves: above, a retry repeats much work; below, its start costs more than its work."""


def plan_num_tasks(num_bytes: int, num_slots: int) -> int:
    """How many Spark tasks move so many bytes: one for each slot, but neither tiny ones nor huge ones."""
    return max(-(-num_bytes // MAX_TASK_BYTES), min(num_slots, -(-num_bytes // MIN_TASK_BYTES)), 1)


def run_tasks(
    spark: SparkSession,
    description: str,
    num_items: int,
    task: Callable[[int], Result],
    *,
    num_tasks: int | None = None,
) -> list[Result]:
    """Runs task(0) .. task(num_items - 1) on the executors and returns their results in that order.

    A task must be idempotent, since Spark may run it again: everything it writes is a function of its number.
    Consecutive numbers share a Spark task, one after the other, where num_tasks is less than num_items.
    `description` is what the Spark UI and the progress bar show.

    Raises:
        FarandoleError: the first one that a task raised, with its class and its message. Spark does not retry it.
        OSError: a task found the disk full.
        ResourceError: a Python worker was killed, as often as Spark tries a task (once in local mode).
    """
    if num_items == 0:
        return []
    context = spark.sparkContext
    context.setJobDescription(description)
    try:
        numbers = context.parallelize(range(num_items), min(num_tasks or num_items, num_items))
        outcomes = numbers.map(lambda number: _outcome(task, number)).collect()
    except Py4JJavaError as failure:
        if "Python worker exited unexpectedly" not in str(failure):
            raise
        raise ResourceError(
            f"{description}: a Python worker was killed, perhaps for lack of memory; nothing was replaced, run it again"
        ) from failure
    finally:
        context.setJobDescription(None)
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


def _outcome(task: Callable[[int], Result], number: int) -> tuple[Result | None, Exception | None]:
    """The result, or an error on purpose as a value: Spark would retry it, and wrap it in a Java stack."""
    try:
        return task(number), None
    except FarandoleError as error:
        return None, error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return None, error
    finally:
        _forget_archives()


def _forget_archives() -> None:
    """Saves a reused worker 0.1 s of CPU per task.

    PySpark invalidates Python's import caches before each task, whereupon every archive on the path reads its
    directory again: pyspark.zip once for each package imported from it, and Spark's largest jar. Finders that are
    forgotten are not asked; they come back, from memory, with the next import that needs them.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[path]


def spark_path(path: Path, *, is_pattern: bool = False) -> str:
    """The path for Spark, which otherwise means the cluster's default file system; when reading, it is a glob to it."""
    return "file://" + (re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path)) if is_pattern else str(path))
