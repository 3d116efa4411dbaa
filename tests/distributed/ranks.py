"""Starts real Horovod ranks on the loopback address, as a barrier stage would, without Spark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.faulty_rank import plan_fault
from farandole.config.load import Config
from farandole.core.dataset.manifest import read_manifest
from farandole.core.rank_spec import Assignment, Meeting, Message, RankSpec, Rendezvous, Result
from farandole.spark.ranks.child import Child, Exited
from farandole.spark.ranks.placement import Seat, plan_places

TIMEOUT_SECONDS = 120
TESTS = Path(__file__).parent.parent
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'lib'}"}


def start_ranks(
    config: Config,
    data: Path,
    logs: Path,
    before_meeting: Callable[[int], object] = lambda port: None,
    fault: dict[str, Any] | None = None,
) -> list[Child]:
    """One process per rank of config.train.num_ranks, all past the rendezvous or on their way to it."""
    plan_fault(config.work, fault)
    assignment = Assignment("train", config.model_dump(), str(data), read_manifest(data).fingerprint())
    places = plan_places([Seat("localhost")] * config.train.num_ranks)
    temporary = logs / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    children = [
        Child("distributed.faulty_rank", rank, logs / f"rank-{rank}.log", environment) for rank in range(len(places))
    ]
    for rank, child in enumerate(children):
        child.begin(RankSpec(assignment, rank, places, "127.0.0.1", "lo", stall_seconds=60))
    message = children[0].next_message(TIMEOUT_SECONDS)
    assert isinstance(message, Rendezvous), f"the leader said {message}: {children[0].log_tail()}"
    before_meeting(message.rendezvous_port)
    for child in children:
        child.send(Meeting("127.0.0.1", message.rendezvous_port))
    return children


def finish_ranks(children: list[Child]) -> list[Message | Exited]:
    """What each rank says at the end; none survives."""
    try:
        messages = []
        for rank, child in enumerate(children):
            message = child.next_message(TIMEOUT_SECONDS)
            assert message is not None, f"rank {rank} hung: {child.log_tail()}"
            messages.append(message)
        return messages
    finally:
        for child in children:
            child.kill()


def run_ranks(config: Config, data: Path, logs: Path) -> list[dict[str, Any]]:
    """Runs all ranks to the end and returns their results; a failure, or a temporary file, is the test's failure."""
    messages = finish_ranks(start_ranks(config, data, logs))
    results = [message.result for message in messages if isinstance(message, Result)]
    assert len(results) == len(messages), messages
    assert list((logs / "tmp").iterdir()) == []
    return results
