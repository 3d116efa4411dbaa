"""Starts one process per rank from a Spark barrier stage, watches them, and brings back results or the first cause.

    results = launch_ranks(spark, module="farandole.train.rank", train=config.train, spec={...}, log_directory=...)

Each task of the stage starts ONE child process, says where it sits (allGather), and passes on the leader's rendezvous
address (allGather again). From there on the ranks talk to each other; the tasks only watch, as watch.py says, and the
driver watches the tasks, as lookout.py says.
"""

import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import BarrierTaskContext, SparkContext
from pyspark.sql import SparkSession

from farandole.config.train import Train
from farandole.errors import FarandoleError, RankError, ResourceError, error_for
from farandole.log import gist
from farandole.spark.ranks.child import Child
from farandole.spark.ranks.gpus import with_gpus
from farandole.spark.ranks.lookout import Lookout, beating, told_failures, where
from farandole.spark.ranks.network import list_offers, plan_addresses, why_unreachable
from farandole.spark.ranks.placement import Seat, describe_places, plan_places
from farandole.spark.ranks.slots import JOB_GROUP, free_slots, refuse_fewer
from farandole.spark.ranks.watch import START_SECONDS, Watch, describe_failure


def launch_ranks(
    spark: SparkSession, *, module: str, train: Train, spec: dict[str, Any], log_directory: Path
) -> list[dict[str, Any]]:
    """Runs `python -m module` once per rank and returns their results by rank.

    Args:
        module: reads the spec from stdin and answers with JSON lines, as farandole.train.rank does.
        train: num_ranks, threads_per_rank and hang_seconds are used.
        spec: plain JSON for every rank; its place among the others is added.
        log_directory: on a file system that driver and executors share; gets rank-N.log.

    Raises:
        ResourceError: too few slots, or two ranks on one GPU.
        RankError: a rank died or hung, or Spark lost the stage.
        FarandoleError: a rank's own error, with the rank and the host in front of it.
    """
    num_ranks = train.num_ranks
    refuse_fewer(free_slots(spark, num_ranks), num_ranks)
    complete = {**spec, "threads": train.threads_per_rank, "stall_seconds": int(START_SECONDS) * 2}
    context = spark.sparkContext
    launch = log_directory / f"launch-{uuid.uuid4().hex[:12]}"
    cancel = partial(context.cancelJobGroup, JOB_GROUP)
    with (
        _job_group(context, num_ranks),
        _launch_directory(launch) as directory,
        Lookout(directory, num_ranks, train.hang_seconds, cancel) as lookout,
    ):
        driver_host = context.getConf().get("spark.driver.host") or ""
        run = partial(
            _run_rank,
            module=module,
            spec=complete,
            logs=log_directory,
            shared=directory,
            train=train,
            driver_host=driver_host,
        )
        try:
            tasks = with_gpus(context, context.parallelize(range(num_ranks), num_ranks))
            outcomes = tasks.barrier().mapPartitions(run).collect()
        except Py4JJavaError as error:  # a task, its worker or its executor died, or the lookout cancelled the stage
            told = [failure for failure in told_failures(directory) if not failure["failure"]["lost_peer"]]
            cause = lookout.error or (first_cause(told, log_directory) if told else None)
            cause = cause or RankError(describe_lost_task(str(error), directory))
            raise cause from cause.__cause__ or error
        failures = [outcome for outcome in outcomes if "failure" in outcome]
        if failures:
            raise first_cause(failures, log_directory)
    return [outcome["result"] for outcome in sorted(outcomes, key=lambda outcome: outcome["rank"])]


@contextmanager
def _launch_directory(directory: Path) -> Iterator[Path]:
    """What the tasks of one launch share. Its removal, also by the next driver, tells tasks left over to end."""
    for old in directory.parent.glob("launch-*"):
        shutil.rmtree(old, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _job_group(context: SparkContext, num_ranks: int) -> Iterator[None]:
    """Names the Spark jobs that are started in the block."""
    context.setJobGroup(JOB_GROUP, f"{num_ranks} ranks")
    try:
        yield
    finally:
        for name in ("spark.jobGroup.id", "spark.job.description"):
            context.setLocalProperty(name, None)


def describe_lost_task(text: str, directory: Path) -> str:
    """Which rank Spark has lost, out of its words, and why."""
    found = re.search(r"barrier task ResultTask\(\d+, (\d+)\) finished unsuccessfully\.\s*(\S.*)", text)
    if found is None:
        return f"Spark lost the stage that runs the ranks: {gist(text)}"
    host = where(directory, int(found[1]))
    return f"rank {found[1]}{host}: Spark lost its task: {found[2].removeprefix('org.apache.spark.')[:300]}"


def first_cause(failures: list[dict[str, Any]], log_directory: Path) -> FarandoleError:
    """The error to show for several failed ranks: the earliest that is not merely the loss of another rank.

    The rank's own stack becomes the cause of the error, so that it lands in the job's log file.
    """
    first = min(failures, key=lambda failure: (failure["failure"]["lost_peer"], failure["failure"]["time"]))
    cause = first["failure"]
    who = f"rank {first['rank']} on {first['host']}"
    log = log_directory / f"rank-{first['rank']}.log"
    error = error_for(cause["exit_code"], f"{who}: {cause['message']} (log: {log})")
    error.__cause__ = RankError(f"{who} said:\n{cause['traceback']}")
    return error


def _run_rank(
    _partition: Any, *, module: str, spec: dict[str, Any], logs: Path, shared: Path, train: Train, driver_host: str
) -> list[dict[str, Any]]:
    """The task of one rank, on an executor. It returns failures instead of raising, as they keep their words so."""
    context = BarrierTaskContext.get()
    seat, rank = _own_seat(context, driver_host), context.partitionId()
    (shared / f"host-{rank}").write_text(seat.host, encoding="utf-8")
    with beating(shared, rank):
        outcome = _watched_rank(context, seat, module, spec, logs, shared, train)
    return [{"rank": rank, "host": seat.host, **outcome}]


def _watched_rank(
    context: BarrierTaskContext, seat: Seat, module: str, spec: dict[str, Any], logs: Path, shared: Path, train: Train
) -> dict[str, Any]:
    """{"result": ...} or {"failure": ...} of this task's rank."""
    rank = context.partitionId()
    child = Child(module, rank, logs / f"rank-{rank}.log", _environment(seat))  # imports TensorFlow meanwhile
    try:
        seats = [Seat.from_plain(json.loads(text)) for text in context.allGather(json.dumps(asdict(seat)))]
        try:
            places, addresses = plan_places(seats), plan_addresses(seats, train.network)
        except ResourceError as error:  # the same on every rank
            return {"failure": describe_failure(str(error), error.exit_code)}
        offer, leader = addresses[rank], addresses[0].address
        place = {"places": describe_places(seats, places), "address": offer.address, "interface": offer.interface}
        child.begin({**spec, "rank": rank, **place})
        watch = Watch(child, rank, len(seats), shared, train.hang_seconds)
        early = watch.first_message() if rank == 0 else None
        port = int(context.allGather(str((early or {}).get("rendezvous_port", 0)))[0])
        problems = context.allGather(why_unreachable(seats, rank, leader, port) if port else "")
        if any(problems):
            text = next(filter(None, problems))
            outcome: dict[str, Any] = {"failure": describe_failure(text, ResourceError.exit_code)}
        else:
            child.send({"rendezvous_address": leader, "rendezvous_port": port})
            outcome = watch.outcome(None if port else early)
        if "result" in outcome:
            watch.stay()
    finally:
        child.kill()
    return outcome


def _own_seat(context: BarrierTaskContext, driver_host: str) -> Seat:
    host = context.getTaskInfos()[context.partitionId()].address.rsplit(":", 1)[0]
    gpus = context.resources().get("gpu")
    return Seat(host=host, offers=list_offers(driver_host), gpus=tuple(gpus.addresses) if gpus else ())


def _environment(seat: Seat) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(seat.gpus) or "-1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONUNBUFFERED": "1",
        # A rank imports what this worker imports: --py-files and archives change sys.path, not the environment.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
