"""How many ranks can start: Spark runs each in a slot, and a launch takes all of its slots at once."""

import os
import re
import time
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from farandole.config.train import Train
from farandole.errors import ResourceError
from farandole.log import say
from farandole.spark.ranks.executors import check_executors, slots_to_come
from farandole.spark.ranks.gpus import jvm_profile
from farandole.spark.session import chosen_master

JOB_GROUP = "farandole ranks"
"""Of the Spark jobs that run ranks."""
START_SECONDS = 5.0
"""How long executors of a cluster of a fixed size may take to register, one after the other."""
OLD_TASKS_SECONDS = 60.0
"""How long tasks of an earlier launch may take to end, those on a host that Spark has yet to find lost included."""
TELL_SECONDS = 15.0
"""How often a wait for slots is told."""
_POLL_SECONDS = 0.25


def check_slots_early(train: Train) -> None:
    """Refuses too few slots before Spark has started, where the master's name tells how many there will be.

    Raises:
        ResourceError: a local master runs fewer tasks at a time than there must be ranks.
    """
    offered = slots_of_local_master(chosen_master())
    if offered is not None:
        ranks_for(train, offered)


def check_slots(spark: SparkSession, train: Train, wait_seconds: float | None = None) -> int:
    """How many ranks can start: train.num_ranks, or fewer where the cluster has not the slots and min_ranks allows.

    Args:
        spark: the session.
        train: num_ranks and min_ranks are used.
        wait_seconds: how long to wait for slots while there are fewer than num_ranks. None: START_SECONDS, or
            train.executors_wait_seconds while enough executors are still to come.

    Raises:
        ConfigError, ResourceError: as check_executors.
        ResourceError: the cluster runs fewer tasks at a time than there must be ranks.
    """
    properties = dict(spark.sparkContext.getConf().getAll())
    check_executors(properties, train)
    if wait_seconds is None:
        enough = (slots_to_come(properties) or 0) >= train.num_ranks
        wait_seconds = train.executors_wait_seconds if enough else START_SECONDS
    return ranks_for(train, free_slots(spark, train.num_ranks, wait_seconds))


def ranks_for(train: Train, offered: int) -> int:
    """The number of ranks on so many slots.

    Raises:
        ResourceError: fewer than train.min_ranks, or, where that is not set, than train.num_ranks.
    """
    key = "train.min_ranks" if train.min_ranks else "train.num_ranks"
    refuse_fewer(offered, train.min_ranks or train.num_ranks, key)
    return min(offered, train.num_ranks)


def refuse_fewer(offered: int, needed: int, key: str = "train.num_ranks") -> None:
    """Raises:
    ResourceError: fewer slots are offered than this config key needs.
    """
    if offered < needed:
        raise ResourceError(
            f"{key} needs {needed} slots, the cluster offers {offered}; "
            f"lower {key}, or give Spark more cores (--master local[{needed}] on one machine)"
        )


def free_slots(spark: SparkSession, wanted: int, wait_seconds: float = START_SECONDS) -> int:
    """num_slots, once no task of an earlier launch runs any more: they hold slots, perhaps on a host that is gone, and
    a leader must not write beside its successor."""
    deadline = time.monotonic() + OLD_TASKS_SECONDS
    while any(stage.numActiveTasks for stage in _stages(spark.sparkContext)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return num_slots(spark, wanted=wanted, wait_seconds=wait_seconds)


def num_slots(spark: SparkSession, *, wanted: int = 1, wait_seconds: float = START_SECONDS) -> int:
    """How many tasks can run at once, hence how many ranks.

    A cluster's executors register one after the other: while there are fewer slots than wanted, waits up to
    wait_seconds for more, and says so now and then.
    """
    context = spark.sparkContext._jsc.sc()
    profile = jvm_profile(spark.sparkContext)
    began = told = time.monotonic()
    deadline = began + (0.0 if context.isLocal() else wait_seconds)
    while True:
        slots, now = int(context.maxNumConcurrentTasks(profile)), time.monotonic()
        if slots >= wanted or now >= deadline:
            return slots
        if now - told >= TELL_SECONDS:
            told = now
            say(f"waiting for slots: {slots} of {wanted} after {now - began:.0f} s of at most {wait_seconds:.0f} s")
        time.sleep(0.1)


def slots_of_local_master(master: str) -> int | None:
    """How many tasks local, local[N] or local[*] runs at once; None for any other master, which only Spark can ask."""
    found = re.fullmatch(r"local(?:\[(\*|\d+)(?:,\s*\d+)?\])?", master)
    if found is None:
        return None
    return (os.cpu_count() or 1) if found[1] == "*" else int(found[1] or 1)


def _stages(context: SparkContext) -> list[Any]:
    """Of all launches."""
    tracker = context.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(JOB_GROUP)]
    stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
    return [stage for stage in stages if stage]
