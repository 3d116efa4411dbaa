"""Starts real Horovod ranks on the loopback address, as a barrier stage would, without Spark."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farandole.config.load import Config
from farandole.core.dataset.manifest import read_manifest
from farandole.spark.ranks.child import Child
from farandole.spark.ranks.placement import Seat, describe_places, plan_places

TIMEOUT_SECONDS = 120
TESTS = Path(__file__).parent.parent
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'lib'}"}


def start_ranks(
    config: Config, data: Path, logs: Path, before_meeting: Callable[[int], object] = lambda port: None, **spec: Any
) -> list[Child]:
    """One process per rank of config.train.num_ranks, all past the rendezvous or on their way to it."""
    seats = [Seat("localhost")] * config.train.num_ranks
    common = {
        "task": "train",
        "config": config.model_dump(),
        "data_directory": str(data),
        "data_fingerprint": read_manifest(data).fingerprint(),
        "places": describe_places(seats, plan_places(seats)),
        "address": "127.0.0.1",
        "interface": "lo",
        "threads": 1,
        "stall_seconds": 60,
        **spec,
    }
    temporary = logs / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    children = [
        Child("distributed.faulty_rank", rank, logs / f"rank-{rank}.log", environment) for rank in range(len(seats))
    ]
    for rank, child in enumerate(children):
        child.begin({**common, "rank": rank})
    message = children[0].next_message(TIMEOUT_SECONDS)
    assert message is not None, f"the leader hung: {children[0].log_tail()}"
    assert "rendezvous_port" in message, f"the leader said {message}: {children[0].log_tail()}"
    before_meeting(message["rendezvous_port"])
    for child in children:
        child.send({"rendezvous_address": "127.0.0.1", **message})
    return children


def finish_ranks(children: list[Child]) -> list[dict[str, Any]]:
    """What each rank says at the end: {"result": ...} or {"failure": ...}; none survives."""
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


def run_ranks(config: Config, data: Path, logs: Path, **spec: Any) -> list[dict[str, Any]]:
    """Runs all ranks to the end and returns their results; a failure, or a temporary file, is the test's failure."""
    messages = finish_ranks(start_ranks(config, data, logs, **spec))
    assert all("result" in message for message in messages), json.dumps(messages, indent=1)
    assert list((logs / "tmp").iterdir()) == []
    return [message["result"] for message in messages]
