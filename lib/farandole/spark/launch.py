"""Starts one process per rank from a Spark barrier stage, watches them, and brings back results or the first cause.

    results = launch_ranks(spark, module="farandole.train.rank", train=config.train, spec={...}, log_directory=...)

Each task of the stage says where it sits (allGather), starts ONE child process, and passes on the leader's rendezvous
address (allGather again). From there on the ranks talk to each other; the tasks only watch. A task whose child fails
leaves a marker in the log directory; the others see it and end theirs, so that nobody waits for the dead.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

from farandole.config import Train
from farandole.core.commit import write_text
from farandole.errors import FarandoleError, RankError, ResourceError, error_for
from farandole.log import gist
from farandole.spark.child import Child
from farandole.spark.gpus import with_gpus
from farandole.spark.network import list_offers, plan_addresses, why_unreachable
from farandole.spark.placement import Offer, Seat, describe_places, plan_places
from farandole.spark.session import chosen_master, num_slots, slots_of_local_master

START_SECONDS = 300.0
"""How long a rank may take to import TensorFlow and meet the others."""
GRACE_SECONDS = 3.0
"""How long the other ranks may take to end by themselves after one has failed: their own words go to their logs."""
_POLL_SECONDS = 0.25


def check_slots_early(num_ranks: int) -> None:
    """Refuses too few slots before Spark has started, where the master's name tells how many there will be.

    Raises:
        ResourceError: a local master runs fewer tasks at a time than there are ranks.
    """
    offered = slots_of_local_master(chosen_master())
    if offered is not None:
        _refuse_too_few(offered, num_ranks)


def check_slots(spark: SparkSession, num_ranks: int) -> None:
    """Refuses at once what Spark would wait for.

    Raises:
        ResourceError: the cluster runs fewer tasks at a time than there are ranks.
    """
    _refuse_too_few(num_slots(spark, wanted=num_ranks), num_ranks)


def _refuse_too_few(offered: int, num_ranks: int) -> None:
    if offered < num_ranks:
        raise ResourceError(
            f"train.num_ranks needs {num_ranks} slots, the cluster offers {offered}; "
            f"lower train.num_ranks, or give Spark more cores (--master local[{num_ranks}] on one machine)"
        )


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
    check_slots(spark, num_ranks)
    log_directory.mkdir(parents=True, exist_ok=True)
    for marker in log_directory.glob("failure-*.json"):
        marker.unlink()
    complete = {**spec, "threads": train.threads_per_rank, "stall_seconds": int(train.hang_seconds) * 2}
    context = spark.sparkContext
    driver_host = context.getConf().get("spark.driver.host") or ""
    run = partial(
        _run_rank, module=module, spec=complete, log_directory=log_directory, train=train, driver_host=driver_host
    )
    context.setJobDescription(f"{num_ranks} ranks")
    try:
        tasks = with_gpus(context, context.parallelize(range(num_ranks), num_ranks))
        outcomes = tasks.barrier().mapPartitions(run).collect()
    except Py4JJavaError as error:  # an executor or a Python worker died, and its rank with it
        raise RankError(f"Spark lost the stage that runs the ranks: {gist(str(error))}") from error
    finally:
        context.setJobDescription(None)
    failures = [outcome for outcome in outcomes if "failure" in outcome]
    if failures:
        raise first_cause(failures, log_directory)
    return [outcome["result"] for outcome in sorted(outcomes, key=lambda outcome: outcome["rank"])]


def first_cause(failures: list[dict[str, Any]], log_directory: Path) -> FarandoleError:
    """The error to show for several failed ranks: the earliest that is not merely the loss of another rank.

    The rank's own stack becomes the cause of the error, so that it lands in the job's log file.
    """
    first = min(failures, key=lambda failure: (failure["failure"]["lost_peer"], failure["failure"]["time"]))
    cause = first["failure"]
    where = f"rank {first['rank']} on {first['host']}"
    log = log_directory / f"rank-{first['rank']}.log"
    error = error_for(cause["exit_code"], f"{where}: {cause['message']} (log: {log})")
    error.__cause__ = RankError(f"{where} said:\n{cause['traceback']}")
    return error


def _run_rank(
    _partition: Any, *, module: str, spec: dict[str, Any], log_directory: Path, train: Train, driver_host: str
) -> list[dict[str, Any]]:
    """The task of one rank, on an executor. It returns failures instead of raising: Spark would retry blindly."""
    context = BarrierTaskContext.get()
    seat, rank = _own_seat(context, driver_host), context.partitionId()
    seats = [Seat.from_plain(json.loads(text)) for text in context.allGather(json.dumps(asdict(seat)))]
    try:
        places, addresses = plan_places(seats), plan_addresses(seats, train.network)
    except ResourceError as error:  # the same on every rank: none has started anything yet
        return [{"rank": rank, "host": seat.host, "failure": _failure(str(error), error.exit_code)}]
    offer, leader = addresses[rank], addresses[0].address
    own = {
        **spec,
        "rank": rank,
        "places": describe_places(seats, places),
        "address": offer.address,
        "interface": offer.interface,
    }
    child = Child(module, own, log_directory / f"rank-{rank}.log", _environment(seat, offer))
    try:
        early = child.next_message(START_SECONDS) if rank == 0 else None
        port = int(context.allGather(str((early or {}).get("rendezvous_port", 0)))[0])
        problems = context.allGather(why_unreachable(seats, rank, leader, port) if port else "")
        if any(problems):
            outcome: dict[str, Any] = {"failure": _failure(next(filter(None, problems)), ResourceError.exit_code)}
        else:
            child.send({"rendezvous_address": leader, "rendezvous_port": port})
            outcome = _watch(child, rank, log_directory, train.hang_seconds, None if port else early)
    finally:
        child.kill()
    return [{"rank": rank, "host": seat.host, **outcome}]


def _watch(
    child: Child, rank: int, log_directory: Path, hang_seconds: float, message: dict[str, Any] | None
) -> dict[str, Any]:
    """Waits for the child's result; ends it when it falls silent, or when another rank has failed.

    `message` is one that the child has sent already, if any.
    """
    peer_failed_at: float | None = None
    while True:
        message = message or child.next_message(_POLL_SECONDS)
        if message and "result" in message:
            return message
        failure = _failure_in(message, child) if message else None
        allowed = hang_seconds if child.has_joined else START_SECONDS
        if failure is None and child.seconds_silent() > allowed:
            failure = _failure(f"nothing was heard for {allowed:.0f} s, {_last_seen(child)}; it hangs or was stopped")
        if failure:
            write_text(log_directory / f"failure-{rank}.json", json.dumps(failure) + "\n")
            return {"failure": failure}
        message = None
        if peer_failed_at is None and any(log_directory.glob("failure-*.json")):
            peer_failed_at = time.monotonic()
        if peer_failed_at is not None and time.monotonic() - peer_failed_at > GRACE_SECONDS:
            return {"failure": _failure("stopped because another rank had failed", lost_peer=True)}


def _failure_in(message: dict[str, Any], child: Child) -> dict[str, Any] | None:
    if "failure" in message:
        return {**message["failure"], "time": time.time()}
    if "exited" in message:
        code = message["exited"]
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code} and no result"
        hint = "; out of memory is the usual reason" if code == -9 else ""
        return _failure(f"the process {how}, {_last_seen(child)}{hint}", trace=child.log_tail())
    return None


def _last_seen(child: Child) -> str:
    if child.state.get("step", -1) < 0:
        return "before its first step"
    return f"last seen after step {child.state['step']} (epoch {child.state['epoch']})"


def _failure(message: str, exit_code: int = 1, *, lost_peer: bool = False, trace: str = "") -> dict[str, Any]:
    return {"message": message, "exit_code": exit_code, "lost_peer": lost_peer, "traceback": trace, "time": time.time()}


def _own_seat(context: BarrierTaskContext, driver_host: str) -> Seat:
    host = context.getTaskInfos()[context.partitionId()].address.rsplit(":", 1)[0]
    gpus = context.resources().get("gpu")
    return Seat(host=host, offers=list_offers(driver_host), gpus=tuple(gpus.addresses) if gpus else ())


def _environment(seat: Seat, offer: Offer) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(seat.gpus) or "-1",
        "NCCL_SOCKET_IFNAME": f"={offer.interface}",  # "=": this very name, not all that begin with it
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONUNBUFFERED": "1",
        # A rank imports what this worker imports: --py-files and archives change sys.path, not the environment.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
