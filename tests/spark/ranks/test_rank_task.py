"""The task of one rank up to the start of its watch: a child is started before its place is known, and never left."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farandole.core.rank_spec import Assignment, Failure, RankSpec, Rendezvous
from farandole.spark.ranks import launch
from farandole.spark.ranks.placement import Offer, Seat

SEAT = Seat(host="a", offers=(Offer("lo", "127.0.0.1/8"),), gpus=("0",))


class FakeChild:
    """Instead of a process; the list of what was done with it."""

    def __init__(self, *_: Any) -> None:
        self.done = ["start"]
        started.append(self)

    def begin(self, spec: RankSpec) -> None:
        self.done.append("begin")

    def kill(self) -> None:
        self.done.append("kill")


started: list[FakeChild] = []


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    started.clear()
    monkeypatch.setattr(launch, "Child", FakeChild)
    return started


def plan(logs: Path, directory: Path) -> launch.Launch:
    return launch.Launch("module", Assignment("train", {}, "", ""), logs, directory, 20.0, "", "", False)


def run(tmp_path: Path, all_gather: Any) -> Any:
    context: Any = SimpleNamespace(partitionId=lambda: 0, allGather=all_gather)
    return launch._watched_rank(context, SEAT, plan(tmp_path, tmp_path))


def test_a_child_ends_when_the_stage_is_cancelled_before_it_has_a_place(tmp_path, children):
    def cancelled(_: str) -> list[str]:
        raise RuntimeError("the stage was cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        run(tmp_path, cancelled)
    assert [child.done for child in children] == [["start", "kill"]]


def test_a_child_ends_when_two_ranks_were_given_one_gpu(tmp_path, children):
    failure = run(tmp_path, lambda text: [text, text])
    assert failure.exit_code == 4
    assert "0" in failure.message
    assert "gpu" in failure.message.lower()
    assert [child.done for child in children] == [["start", "kill"]]


def test_a_child_is_told_its_place_before_the_leader_is_waited_for(tmp_path, children, monkeypatch):
    answers = [[json.dumps(launch.asdict(SEAT))]]

    def gathered(_: str) -> list[str]:
        if not answers:
            raise RuntimeError("no more")
        return answers.pop(0)

    monkeypatch.setattr(launch.Watch, "first_message", lambda watch: Rendezvous(1))
    with pytest.raises(RuntimeError, match="no more"):
        run(tmp_path, gathered)
    assert [child.done for child in children] == [["start", "begin", "kill"]]


def test_a_host_that_does_not_see_the_launch_says_so_before_it_starts_anything(tmp_path, children, monkeypatch):
    told: list[str] = []
    context: Any = SimpleNamespace(partitionId=lambda: 1, allGather=told.append)
    monkeypatch.setattr(launch.BarrierTaskContext, "get", lambda: context)
    monkeypatch.setattr(launch, "_own_seat", lambda context, driver_host: SEAT)
    (outcome,) = launch._run_rank(None, launch=plan(tmp_path / "work/logs", tmp_path / "work/logs/launch-1"))
    assert (outcome.rank, outcome.host, outcome.end.exit_code, outcome.end.lost_peer) == (1, "a", 4, False)
    assert outcome.end.message == (
        f"its host cannot write into {tmp_path}/work/logs/launch-1, which the driver has made (No such file or "
        f"directory); driver and executors must share paths.work"
    )
    assert (told, children) == ([""], [])  # the others hear of it


def test_the_others_end_when_a_host_does_not_see_the_launch(tmp_path, children):
    failure = run(tmp_path, lambda text: [text, ""])
    assert isinstance(failure, Failure)
    assert (failure.message, failure.lost_peer) == ("stopped because another rank had failed", True)
    assert [child.done for child in children] == [["start", "kill"]]
