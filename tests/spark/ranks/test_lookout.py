"""What the driver makes of the files that a launch's tasks touch and write; the moments are made up."""

import os
import threading

import pytest

from farandole.core.rank_spec import Failure, Outcome, to_json
from farandole.errors import RankError, ResourceError
from farandole.spark.ranks import lookout
from farandole.spark.ranks.lookout import END_SECONDS, SLOTS_SECONDS, Lookout, beating, told_failures
from farandole.spark.ranks.watch import START_SECONDS


class Launch:
    """A launch directory of two ranks, and a clock."""

    def __init__(self, directory):
        self.directory, self.cancelled, self.touched = directory, threading.Event(), 0
        self.lookout = Lookout(directory, 2, 20.0, self.cancelled.set)
        self.start = self.lookout._began

    def beat(self, *ranks):
        self.touched += 1
        for rank in ranks:
            path = self.directory / f"beat-{rank}"
            path.touch()
            os.utime(path, ns=(self.touched, self.touched))

    def must_end_after(self, seconds):
        return self.lookout.must_end(self.start + seconds)


@pytest.fixture
def launch(tmp_path):
    return Launch(tmp_path)


def test_tasks_that_beat_are_left_alone(launch):
    for seconds in range(0, 1000, 19):
        launch.beat(0, 1)
        assert not launch.must_end_after(seconds)
    assert launch.lookout.error is None


def test_files_that_cannot_be_read_for_a_moment_are_no_missing_slots(launch, tmp_path):
    launch.beat(0, 1)
    assert not launch.must_end_after(SLOTS_SECONDS)
    for rank in (0, 1):
        (tmp_path / f"beat-{rank}").rename(tmp_path / f"away-{rank}")
    assert not launch.must_end_after(SLOTS_SECONDS + 1)
    assert launch.lookout.error is None


def test_the_task_that_falls_silent_is_named(launch, tmp_path):
    (tmp_path / "host-1").write_text("node7")
    launch.beat(0, 1)
    assert not launch.must_end_after(5)
    launch.beat(0)
    assert not launch.must_end_after(25)
    launch.beat(0)
    assert launch.must_end_after(25.5)
    assert isinstance(launch.lookout.error, RankError)
    assert str(launch.lookout.error) == (
        "rank 1 on node7: nothing was heard of its task for 20 s; its Python worker or its host is frozen or cut off"
    )


def test_a_worker_that_is_slow_to_start_is_no_silent_one(launch):
    launch.beat(0)
    assert not launch.must_end_after(10)
    launch.beat(0)
    assert not launch.must_end_after(START_SECONDS - 1)
    launch.beat(0)
    assert launch.must_end_after(START_SECONDS + 1)
    assert str(launch.lookout.error).startswith("rank 1: nothing was heard of its task for 301 s")


def test_slots_are_not_waited_for_without_end(launch):
    assert not launch.must_end_after(SLOTS_SECONDS)
    assert launch.must_end_after(SLOTS_SECONDS + 1)
    assert isinstance(launch.lookout.error, ResourceError)
    assert str(launch.lookout.error).startswith("2 ranks waited 60 s for 2 free slots; other Spark jobs")


def tell(directory, rank, **named):
    failure = Failure("the disk was eaten", **named)
    (directory / f"failure-{rank}.json").write_text(to_json(failure))
    return failure


def test_a_stage_that_does_not_end_after_a_failure_is_ended(launch, tmp_path):
    launch.beat(0, 1)
    (tmp_path / "host-1").write_text("node7")
    failure = tell(tmp_path, 1)
    assert not launch.must_end_after(1)
    assert not launch.must_end_after(1 + END_SECONDS)
    assert launch.must_end_after(1.1 + END_SECONDS)
    assert launch.lookout.error is None
    assert told_failures(tmp_path) == [Outcome(1, "node7", failure)]


def test_the_loss_of_a_peer_ends_no_stage_before_its_cause_is_known(launch, tmp_path):
    launch.beat(0, 1)
    tell(tmp_path, 0, lost_peer=True)
    (tmp_path / "failure-1.json").write_text("{half of")
    (tmp_path / "failure-2.json").write_text('{"another": "version"}')
    assert not launch.must_end_after(1)
    assert not launch.must_end_after(19)


def test_the_lookout_cancels_the_stage_once(launch, monkeypatch):
    monkeypatch.setattr(lookout, "SLOTS_SECONDS", -1.0)
    monkeypatch.setattr(lookout, "_POLL_SECONDS", 0.01)
    with launch.lookout:
        assert launch.cancelled.wait(timeout=30)


def test_a_task_beats_until_it_ends_or_the_launch_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lookout, "BEAT_SECONDS", 0.01)
    touched = threading.Semaphore(0)
    utime = os.utime

    def told_utime(path, times=None):
        utime(path, times)
        touched.release()

    monkeypatch.setattr(lookout.os, "utime", told_utime)
    with beating(tmp_path, 3):
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "beat 3"]
        assert touched.acquire(timeout=30)
        assert touched.acquire(timeout=30)
    thread.join(timeout=30)
    assert not thread.is_alive()
    with beating(tmp_path, 4):
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "beat 4"]
        (tmp_path / "beat-4").unlink()
        thread.join(timeout=30)
        assert not thread.is_alive()
