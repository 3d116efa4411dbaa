"""Spark schedules, Arrow moves: a stage is a function of a task number, and what comes back are counts, never rows."""

import re
import sys
import zipimport
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from farandole.core.dataset.commit import is_disk_full
from farandole.errors import FarandoleError, ResourceError
from farandole.log import gist

Result = TypeVar("Result")

MAX_TASK_BYTES, MIN_TASK_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024
"""Of images that one Spark task moves: above, a retry repeats much work; below, its start costs more than its work."""


MAX_RESULTS = 64
"""That reduce_tasks brings to the driver as they are."""


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
    failure_mark: Path | None = None,
) -> list[Result]:
    """Runs task(0) .. task(num_items - 1) on the executors and returns their results in that order.

    A task must be idempotent, since Spark may run it again: everything it writes is a function of its number.
    Consecutive numbers share a Spark task, one after the other, where num_tasks is less than num_items.
    `description` is what the Spark UI and the progress bar show. `failure_mark` is where a task that raises an error
    leaves a file, on a disk that all hosts share: numbers that have not begun by then are not begun. Should the failed
    one succeed after all, run again because its host was lost, those are run then.

    Raises:
        FarandoleError: the first one that a task raised, with its class and its message. Spark does not retry it. Or
            Spark gave a task up; see `errors_in_one_line`.
        OSError: a task found the disk full.
    """
    found: dict[int, Result] = {}
    while left := [number for number in range(num_items) if number not in found]:
        for number, outcome in zip(
            left, _outcomes(spark, description, left, task, num_tasks, failure_mark), strict=True
        ):
            if outcome and outcome.error:
                raise outcome.error
            if outcome:
                found[number] = outcome.result
        if failure_mark:
            failure_mark.unlink(missing_ok=True)
    return [found[number] for number in range(num_items)]


@dataclass(frozen=True)
class _Outcome:
    result: Any = None
    error: Exception | None = None


def _outcomes(
    spark: SparkSession,
    description: str,
    numbers: list[int],
    task: Callable[[int], Result],
    num_tasks: int | None,
    failure_mark: Path | None,
) -> list[_Outcome | None]:
    """By number; None: it was not begun."""
    context = spark.sparkContext
    context.setJobDescription(description)
    try:
        rows = context.parallelize(numbers, min(num_tasks or len(numbers), len(numbers)))
        with errors_in_one_line(description):
            return rows.map(lambda number: _outcome(task, number, failure_mark)).collect()
    finally:
        context.setJobDescription(None)


def reduce_tasks(
    spark: SparkSession,
    description: str,
    num_items: int,
    task: Callable[[int], Result],
    combine: Callable[[Result, Result], Result],
) -> Result:
    """Joins the results of task(0) .. task(num_items - 1), in any order; each is a Spark task, idempotent.

    Where they are many they are joined on executors first, so that a few come to the driver: Spark ends a job whose
    results are more than spark.driver.maxResultSize together.

    Raises:
        FarandoleError, OSError: as run_tasks.
    """

    def once(item: int) -> _Outcome:
        return cast(_Outcome, _outcome(task, item, None))  # without a mark none is passed over

    def join(one: _Outcome, other: _Outcome) -> _Outcome:
        failed = one.error or other.error
        return _Outcome(error=failed) if failed else _Outcome(combine(one.result, other.result))

    context = spark.sparkContext
    context.setJobDescription(description)
    try:
        with errors_in_one_line(description):
            outcomes = context.parallelize(range(num_items), num_items).map(once)
            found = outcomes.treeReduce(join, depth=1 if num_items <= MAX_RESULTS else 2)
    finally:
        context.setJobDescription(None)
    if found.error is not None:
        raise found.error
    return cast(Result, found.result)


@contextmanager
def errors_in_one_line(description: str) -> Iterator[None]:
    """Says of Spark's own failures, which come as pages of Java, in one line what was going on and what happened.

    Raises:
        ResourceError: a disk that Spark itself writes to is full.
        FarandoleError: Spark gave a task up, after as many tries as spark.task.maxFailures allows: one in local mode.
    """
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        said = str(error)
        if "No space left on device" in said:
            raise ResourceError(
                f"{description}: a disk that Spark writes to is full; make room in spark.local.dir and paths.work"
            ) from error
        if "Python worker exited unexpectedly" in said:
            found = re.search(r"failed ([2-9]|\d\d+) times", said)
            tries = f" in {found[1]} tries" if found else ""
            raise FarandoleError(
                f"{description}: a Python worker died{tries}: it was killed, most likely for want of memory, or it "
                f"crashed; run again with fewer slots, such as --master local[1], or more memory"
            ) from error
        raise FarandoleError(f"{description}: {gist(said)}") from error


def _outcome(task: Callable[[int], Any], number: int, failure_mark: Path | None) -> _Outcome | None:
    """The result, or an error on purpose as a value: Spark would retry it, and wrap it in a Java stack."""
    # A failed number whose result is lost with its host runs again, and fails again: else nobody would.
    if failure_mark and failure_mark.exists() and failure_mark.read_text() != str(number):
        return None
    try:
        return _Outcome(task(number))
    except FarandoleError as error:
        if failure_mark:
            failure_mark.write_text(str(number))
        return _Outcome(error=error)
    except OSError as error:
        if not is_disk_full(error):
            raise
        return _Outcome(error=error)
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
