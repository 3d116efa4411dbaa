"""Spark schedules, Arrow moves: a stage is a function of a task number, and what comes back are counts, never rows."""

from collections.abc import Callable
from typing import TypeVar

from pyspark.sql import SparkSession

Result = TypeVar("Result")


def run_tasks(spark: SparkSession, description: str, num_tasks: int, task: Callable[[int], Result]) -> list[Result]:
    """Runs task(0) .. task(num_tasks - 1) on the executors and returns their results in that order.

    A task must be idempotent, since Spark may run it again: everything it writes is a function of its number.
    `description` is what the Spark UI and the progress bar show.
    """
    if num_tasks == 0:
        return []
    context = spark.sparkContext
    context.setJobDescription(description)
    try:
        return context.parallelize(range(num_tasks), num_tasks).map(task).collect()
    finally:
        context.setJobDescription(None)
