"""How a rank is judged by what its heartbeats tell: pure rules, and the watch over a child that is made up."""

import errno
import shutil
from dataclasses import replace

import pytest

from farandole.core.rank_spec import Failure, Phase, RankState, Result, message_from_json
from farandole.spark.ranks import watch
from farandole.spark.ranks.watch import START_SECONDS, WORKING_SECONDS, Watch, allowed_seconds, last_seen

STATE = RankState(12, 1, Phase.COMPUTING, seconds=0.0, usual_seconds=0.5, reading="")


@pytest.mark.parametrize(
    ("phase", "usual", "allowed"),
    [
        ("computing", 0.5, 20.0),
        ("computing", 9.0, 90.0),  # slow steps are not hangs
        ("computing", None, START_SECONDS),  # its graph is being built
        ("evaluating", None, START_SECONDS),
        ("saving", 30.0, 300.0),
        ("reading", None, 20.0),
        ("summing", None, 20.0),
    ],
)
def test_what_takes_long_as_a_rule_may_take_long(phase, usual, allowed):
    assert allowed_seconds(replace(STATE, phase=Phase(phase), usual_seconds=usual), 20.0) == allowed


def test_messages_say_what_a_rank_was_doing():
    assert last_seen(None) == "before it had started"
    assert last_seen(replace(STATE, step=-1, phase=Phase.STARTING)) == "while starting, before its first step"
    assert last_seen(STATE) == "while computing, after step 12 (epoch 1)"
    assert last_seen(replace(STATE, phase=Phase.READING, reading="a.parquet, row group 3")) == (
        "while reading a.parquet, row group 3, after step 12 (epoch 1)"
    )
    assert "while computing and reading a.parquet, row group 3, after" in last_seen(
        replace(STATE, reading="a.parquet, row group 3")
    )


class Child:
    """Tells one state after the other, a poll each, then that it is done."""

    has_joined = True

    def __init__(self, *states, silent=0.0, idle=1e9):
        self.states, self.silent, self.signals, self.state = list(states), silent, [], STATE
        self.idle = idle

    def next_message(self, timeout_seconds):
        if not self.states:
            return Result({})
        self.state = replace(STATE, **self.states.pop(0))
        return None

    def seconds_silent(self):
        return self.silent

    def seconds_idle(self):
        return self.idle

    def signal(self, number):
        self.signals.append(number)

    def is_stopped(self):
        return False

    def log_tail(self):
        return "stack"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(watch, "_STACK_SECONDS", 0.0)


def failure(child, directory, num_ranks=2):
    outcome = Watch(child, 1, num_ranks, directory, 20.0).outcome(None)
    assert isinstance(outcome, Failure)
    assert message_from_json((directory / "failure-1.json").read_text()) == outcome
    return outcome


def test_a_failure_that_no_file_takes_is_the_tasks_result(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(watch, "write_text", full)
    child = Child({"seconds": 19.9}, {"phase": Phase.READING, "seconds": 20.1, "usual_seconds": 0.1, "reading": "a"})
    outcome = Watch(child, 1, 2, tmp_path, 20.0).outcome(None)
    assert isinstance(outcome, Failure)
    assert "for 20 s" in outcome.message or "20" in outcome.message


def test_a_rank_that_stands_still_outside_a_sum_is_the_culprit(tmp_path):
    reading = {"phase": Phase.READING, "seconds": 20.1, "usual_seconds": 0.1, "reading": "a.parquet, row group 3"}
    child = Child({"seconds": 19.9}, reading)
    found = failure(child, tmp_path)
    assert found.message == (
        "no progress for 20 s, while reading a.parquet, row group 3, after step 12 (epoch 1); it hangs"
    )
    assert (found.lost_peer, found.traceback, len(child.signals)) == (False, "stack", 1)


def test_a_rank_that_waits_in_a_sum_is_only_a_victim_while_another_does_not(tmp_path):
    waits = {"phase": Phase.SUMMING, "seconds": 21.0}
    child = Child(waits, waits, {"phase": Phase.COMPUTING, "seconds": 0.1})
    told = []
    child.seconds_silent = lambda: told.append((tmp_path / "waiting-1").exists()) or 0.0
    assert Watch(child, 1, 2, tmp_path, 20.0).outcome(None) == Result({})
    assert told == [False, True, True]
    assert list(tmp_path.iterdir()) == []  # it went on, so it waits no more


def test_all_ranks_in_a_sum_wait_for_nobody(tmp_path):
    (tmp_path / "waiting-0").touch()
    waits = {"phase": Phase.SUMMING, "seconds": 21.0}
    found = failure(Child(waits, waits), tmp_path)
    assert found.message.startswith("all 2 ranks wait for each other in a sum since 21 s, while summing, after step 12")


@pytest.mark.parametrize("phase", [Phase.COMPUTING, Phase.EVALUATING, Phase.COUNTING, Phase.SUMMING])
def test_a_rank_that_works_is_slow_and_no_hang(tmp_path, phase):
    """Whatever is usual, and wherever it is: a sum works while bytes go over a slow network."""
    (tmp_path / "waiting-0").touch()
    slow = {"phase": phase, "usual_seconds": 0.1, "seconds": 3000.0}
    assert Watch(Child(slow, slow, idle=19.0), 1, 2, tmp_path, 20.0).outcome(None) == Result({})


def test_a_rank_that_works_without_end_hangs(tmp_path):
    endless = {"usual_seconds": 0.1, "seconds": WORKING_SECONDS + 1}
    assert failure(Child(endless, idle=0.0), tmp_path).message.startswith("no progress for 3601 s, while computing")


def test_a_rank_that_works_may_be_silent_for_a_while(tmp_path):
    """As when one call holds Python's lock."""
    assert Watch(Child({}, silent=299.0, idle=1.0), 1, 2, tmp_path, 20.0).outcome(None) == Result({})
    stopped = Child({}, silent=20.5, idle=19.5)
    stopped.is_stopped = lambda: True
    assert "nothing was heard for 20 s" in failure(stopped, tmp_path).message


def test_silence_is_a_hang(tmp_path):
    assert failure(Child({}, silent=20.5), tmp_path).message == (
        "nothing was heard for 20 s, while computing, after step 12 (epoch 1); it hangs or was stopped"
    )


def test_a_start_may_take_long_but_not_for_ever(tmp_path):
    starting = {"phase": Phase.STARTING, "step": -1, "usual_seconds": None}
    child = Child({**starting, "seconds": 2 * START_SECONDS}, {**starting, "seconds": 2 * START_SECONDS + 1})
    child.has_joined = False
    assert failure(child, tmp_path).message == "no progress for 601 s, while starting, before its first step; it hangs"
    assert child.states == []


@pytest.mark.parametrize(("stopped", "silent", "hangs"), [(False, 299, False), (False, 301, True), (True, 20.5, True)])
def test_silence_at_the_start_is_an_import_unless_the_process_is_stopped(tmp_path, stopped, silent, hangs):
    child = Child({}, silent=silent)
    child.has_joined, child.is_stopped = False, lambda: stopped
    found = Watch(child, 0, 2, tmp_path, 20.0).first_message()
    assert isinstance(found, Failure) is hangs
    assert not hangs or f"nothing was heard for {20 if stopped else 300} s" in found.message


def test_a_launch_that_was_given_up_ends_its_ranks(tmp_path):
    """A rank of an old launch must not write beside its successor; what other launches left does not matter."""
    (tmp_path / "launch-old").mkdir()
    (tmp_path / "launch-old" / "failure-0.json").write_text("{}")
    assert Watch(Child({}), 1, 2, tmp_path / "launch-new", 20.0).outcome(None).message == (
        "stopped because the driver gave up this launch"
    )


def test_another_ranks_failure_is_waited_for_and_then_ends_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "GRACE_SECONDS", -1.0)
    (tmp_path / "failure-0.json").write_text("{}")
    found = Watch(Child({}), 1, 2, tmp_path, 20.0).outcome(None)
    assert (found.message, found.lost_peer) == ("stopped because another rank had failed", True)
    assert not (tmp_path / "failure-1.json").exists()


@pytest.mark.parametrize("news", ["done-0", "failure-0.json", None])
def test_a_rank_that_is_done_stays_until_the_others_are_or_one_has_failed_or_the_launch_is_over(
    tmp_path, monkeypatch, news
):
    polls = []

    def sleep(seconds):
        polls.append({path.name for path in tmp_path.iterdir()})
        if len(polls) == 3:
            (tmp_path / news).touch() if news else shutil.rmtree(tmp_path)

    monkeypatch.setattr(watch.time, "sleep", sleep)
    Watch(Child(), 1, 2, tmp_path, 20.0).stay()
    assert polls == [{"done-1"}] * 3
