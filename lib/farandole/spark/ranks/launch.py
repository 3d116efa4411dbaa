"""Starts one process per rank from a Spark barrier stage, watches them, and brings back results or the first cause.

    results = launch_ranks(spark, module="farandole.train.rank", assignment=Assignment(...), num_ranks=2, ...)

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
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import BarrierTaskContext, SparkContext
from pyspark.sql import SparkSession

from farandole.core.rank_spec import Assignment, Failure, Meeting, Outcome, RankSpec, Rendezvous, Result
from farandole.errors import FarandoleError, RankError, ResourceError, error_for
from farandole.log import gist
from farandole.spark.ranks.child import Child
from farandole.spark.ranks.gpus import dealt_gpus, with_gpus
from farandole.spark.ranks.lookout import Lookout, beating, told_failures, where
from farandole.spark.ranks.network import list_offers, plan_addresses, why_unreachable
from farandole.spark.ranks.placement import Seat, plan_places
from farandole.spark.ranks.slots import JOB_GROUP, free_slots, refuse_fewer
from farandole.spark.ranks.watch import PEER_FAILED, START_SECONDS, Watch

STALL_SECONDS = int(START_SECONDS) * 2
"""How long Horovod lets ranks wait for one that has not entered a sum; a task or the driver ends it sooner."""


@dataclass(frozen=True)
class Launch:
    """What the tasks of all ranks are given."""

    module: str
    assignment: Assignment
    logs: Path
    directory: Path
    """Of this launch alone, below logs: what its tasks share."""
    hang_seconds: float
    network: str
    driver_host: str
    deals_gpus: bool
    """Whether all ranks are on this host and Spark knows nothing of its GPUs."""


def launch_ranks(
    spark: SparkSession,
    *,
    module: str,
    assignment: Assignment,
    log_directory: Path,
    num_ranks: int,
    hang_seconds: float,
    network: str = "",
) -> list[dict[str, Any]]:
    """Runs `python -m module` once per rank and returns their results by rank.

    Args:
        spark: the session.
        module: is told a RankSpec and answers, as farandole.train.rank does.
        assignment: for all ranks.
        log_directory: on a file system that driver and executors share; gets rank-N.log.
        num_ranks: how many.
        hang_seconds: a rank that gives no sign of life, or makes no progress, for so long is ended.
        network: where ranks of several hosts meet, as train.network names it.

    Raises:
        ResourceError: too few slots, two ranks on one GPU, or a host that does not see log_directory.
        RankError: a rank died or hung, or Spark lost the stage.
        FarandoleError: a rank's own error, with the rank and the host in front of it; or Spark was stopped.
    """
    refuse_fewer(free_slots(spark, num_ranks), num_ranks)
    context = spark.sparkContext
    cancel = partial(context.cancelJobGroup, JOB_GROUP)
    with (
        _job_group(context, num_ranks),
        _launch_directory(log_directory / f"launch-{uuid.uuid4().hex[:12]}") as directory,
        Lookout(directory, num_ranks, hang_seconds, cancel) as lookout,
    ):
        driver_host = context.getConf().get("spark.driver.host") or ""
        is_local = bool(context._jsc.sc().isLocal())
        launch = Launch(module, assignment, log_directory, directory, hang_seconds, network, driver_host, is_local)
        try:
            tasks = with_gpus(context, context.parallelize(range(num_ranks), num_ranks))
            outcomes = tasks.barrier().mapPartitions(partial(_run_rank, launch=launch)).collect()
        except Py4JJavaError as error:  # a task, its worker or its executor died, or the lookout cancelled the stage
            cause = lookout.error or first_cause(told_failures(directory), log_directory)
            cause = lost_spark(str(error)) or cause or RankError(describe_lost_task(str(error), directory))
            raise cause from cause.__cause__ or error
        if cause := first_cause(outcomes, log_directory):
            raise cause
    results = {outcome.rank: outcome.end.result for outcome in outcomes if isinstance(outcome.end, Result)}
    return [results[rank] for rank in range(num_ranks)]


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


def lost_spark(text: str) -> FarandoleError | None:
    """Out of its words, that Spark itself was told to end, as spark-submit is by SIGTERM: no other try can succeed."""
    if "SparkContext was shut down" not in text:
        return None
    return FarandoleError("Spark was stopped from outside; run the same command again to continue")


def describe_lost_task(text: str, directory: Path) -> str:
    """Which rank Spark has lost, out of its words, and why."""
    found = re.search(r"barrier task ResultTask\(\d+, (\d+)\) finished unsuccessfully\.\s*(\S.*)", text)
    if found is None:
        return f"Spark lost the stage that runs the ranks: {gist(text)}"
    host = where(directory, int(found[1]))
    return f"rank {found[1]}{host}: Spark lost its task: {found[2].removeprefix('org.apache.spark.')[:300]}"


def first_cause(outcomes: list[Outcome], log_directory: Path) -> FarandoleError | None:
    """The error to show for the ranks that failed: the earliest that is not merely the loss of another; None: none did.

    The rank's own stack becomes the cause of the error, so that it lands in the job's log file.
    """
    failures = [(outcome, outcome.end) for outcome in outcomes if isinstance(outcome.end, Failure)]
    if not failures:
        return None
    first, failure = min(failures, key=lambda found: (found[1].lost_peer, found[1].time))
    who = f"rank {first.rank} on {first.host}"
    log = log_directory / f"rank-{first.rank}.log"
    error = error_for(failure.exit_code, f"{who}: {failure.message}" + (f" (log: {log})" if log.exists() else ""))
    error.__cause__ = RankError(f"{who} said:\n{failure.traceback}")
    return error


def _run_rank(_partition: Any, *, launch: Launch) -> list[Outcome]:
    """The task of one rank, on an executor. It returns failures instead of raising, as they keep their words so."""
    context = BarrierTaskContext.get()
    seat, rank = _own_seat(context, launch), context.partitionId()
    try:
        (launch.directory / f"host-{rank}").write_text(seat.host, encoding="utf-8")
    except OSError as error:
        context.allGather("")  # instead of its seat: tells the others
        end: Result | Failure = Failure(
            f"its host cannot write into {launch.directory}, which the driver has made ({error.strerror}); "
            f"driver and executors must share paths.work",
            ResourceError.exit_code,
        )
    else:
        with beating(launch.directory, rank):
            end = _watched_rank(context, seat, launch)
    return [Outcome(rank, seat.host, end)]


def _watched_rank(context: BarrierTaskContext, seat: Seat, launch: Launch) -> Result | Failure:
    """How this task's rank ends."""
    rank = context.partitionId()
    # It imports TensorFlow while the others come.
    child = Child(launch.module, rank, launch.logs / f"rank-{rank}.log", _environment(seat))
    try:
        told = context.allGather(json.dumps(asdict(seat)))
        if not all(told):
            return Failure(PEER_FAILED, lost_peer=True)
        seats = [Seat.from_plain(json.loads(text)) for text in told]
        try:
            places, addresses = plan_places(seats), plan_addresses(seats, launch.network)
        except ResourceError as error:  # the same on every rank
            return Failure(str(error), error.exit_code)
        own, leader = addresses[rank], addresses[0].address
        child.begin(RankSpec(launch.assignment, rank, places, own.address, own.interface, stall_seconds=STALL_SECONDS))
        watch = Watch(child, rank, len(seats), launch.directory, launch.hang_seconds)
        early = watch.first_message() if rank == 0 else None
        port = int(context.allGather(str(early.rendezvous_port if isinstance(early, Rendezvous) else 0))[0])
        problems = context.allGather(why_unreachable(seats, rank, leader, port) if port else "")
        if any(problems):
            return Failure(next(filter(None, problems)), ResourceError.exit_code)
        child.send(Meeting(leader, port))
        end = watch.outcome(None if port else early)
        if isinstance(end, Result):
            watch.stay()
        return end
    finally:
        child.kill()


def _own_seat(context: BarrierTaskContext, launch: Launch) -> Seat:
    rank, tasks = context.partitionId(), context.getTaskInfos()
    assigned = context.resources().get("gpu")
    dealt = dealt_gpus(rank, len(tasks)) if launch.deals_gpus and not assigned else []
    gpus = tuple(assigned.addresses if assigned else dealt)
    return Seat(host=tasks[rank].address.rsplit(":", 1)[0], offers=list_offers(launch.driver_host), gpus=gpus)


def _environment(seat: Seat) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(seat.gpus) or "-1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONUNBUFFERED": "1",
        # A rank imports what this worker imports: --py-files and archives change sys.path, not the environment.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
