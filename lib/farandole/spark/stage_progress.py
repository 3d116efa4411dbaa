"""How far Spark's own stages are: its bar on a terminal, elsewhere a plain line now and then. Beside ours no bar."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

from farandole.log import on_terminal, say

TELL_SECONDS = 10.0
"""How far apart the lines are. Short stages say nothing of themselves."""


@contextmanager
def told(spark: SparkSession, job: str) -> Iterator[None]:
    """While the body runs, says how many tasks of the stages that run are done, and for how long it has been running.

    On a terminal Spark's bar shows that, so nothing is said there.
    """
    if on_terminal():
        yield
        return
    stopped = threading.Event()
    thread = threading.Thread(target=_tell, args=(spark, job, stopped), name="stage progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _tell(spark: SparkSession, job: str, stopped: threading.Event) -> None:
    began = time.monotonic()
    while not stopped.wait(TELL_SECONDS):
        with suppress(Exception):  # the JVM may be ending: what the job itself finds is said
            say(f"{job}: {describe_stages(spark)}, {time.monotonic() - began:.0f} s so far")


def describe_stages(spark: SparkSession) -> str:
    """The tasks of the stages that run at this moment."""
    tracker = spark.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
    counts = [f"{stage.numCompletedTasks} of {stage.numTasks} tasks done" for stage in stages if stage]
    return ", ".join(counts) or "at work on the driver"


def end_bar(spark: SparkSession) -> None:
    """Ends Spark's bar for good: ranks are tasks of a stage, too, whose bar would be drawn over that of training."""
    bar = spark.sparkContext._jsc.sc().progressBar()
    if bar.isDefined():
        bar.get().stop()
