"""Spark schedules, Arrow moves: a stage is a function of a task number, and what comes back are counts, never rows."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyspark.sql import SparkSession

from farandole.errors import FarandoleError

Result = TypeVar("Result")


def run_tasks(spark: SparkSession, description: str, num_tasks: int, task: Callable[[int], Result]) -> list[Result]:
    """Runs task(0) .. task(num_tasks - 1) on the executors and returns their results in that order.

    A task must be idempotent, since Spark may run it again: everything it writes is a function of its number.
    `description` is what the Spark UI and the progress bar show.

    Raises:
        FarandoleError: the first one that a task raised, with its class and its message. Spark does not retry it.
        OSError: a task found the disk full.
    """
    if num_tasks == 0:
        return []
    context = spark.sparkContext
    context.setJobDescription(description)
    try:
        outcomes = context.parallelize(range(num_tasks), num_tasks).map(lambda number: _outcome(task, number)).collect()
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


def spark_path(path: Path, *, is_pattern: bool = False) -> str:
    """The path for Spark, which otherwise means the cluster's default file system; when reading, it is a glob to it."""
    return "file://" + (re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path)) if is_pattern else str(path))
