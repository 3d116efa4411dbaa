"""What a rank's process says, as the task that started it hears it."""

import signal
import time

import pytest

from farandole.core.rank_spec import Failure, Meeting, RankState, Rendezvous
from farandole.spark.ranks import child as module
from farandole.spark.ranks.child import Child, Exited

PROGRAM = """
import sys
line = sys.stdin.readline()
print(7)
print('{"step": 3, "epoch": 0, "phase": "saving", "seconds": 0.5, "usual_seconds": null, "reading": ""}')
print('{"joined": true}')
print('{"rendezvous_port": 4711}')
print('{"news": 1}')
print(line, end="", file=sys.stderr)
print('{"half')
sys.exit(3)
"""


@pytest.fixture
def child(tmp_path):
    (tmp_path / "saying_rank.py").write_text(PROGRAM)
    child = Child("saying_rank", 0, tmp_path / "log", {"PYTHONPATH": str(tmp_path)})
    yield child
    child.kill()


def test_heartbeats_become_state_and_the_rest_becomes_messages(child):
    assert (child.state, child.has_joined) == (None, False)
    child.send(Meeting("10.0.0.1", 4711))
    assert child.next_message(30.0) == Rendezvous(4711)
    assert isinstance(child.state, RankState)
    assert (child.state.step, child.state.phase, child.has_joined) == (3, "saving", True)
    stranger = child.next_message(30.0)
    assert isinstance(stranger, Failure)
    assert (stranger.exit_code, stranger.message) == (
        4,
        "a rank's message has keys ['news']; driver and executors must run the same version of farandole",
    )
    assert child.next_message(30.0) == Exited(3)
    assert child.log_tail() == '{"rendezvous_address": "10.0.0.1", "rendezvous_port": 4711}'


@pytest.fixture
def usage(tmp_path, monkeypatch):
    """A child that waits, a clock, and what the system is made to say of the child."""
    (tmp_path / "waiting_rank.py").write_text("import sys; sys.stdin.read()")
    now, used = [time.monotonic()], [(0.0, 0)]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Child, "_usage", lambda _: used[0])
    yield tmp_path, now, used
    for child in started:
        child.kill()
    started.clear()


started: list[Child] = []


def start(directory, **environment):
    started.append(Child("waiting_rank", 0, directory / "log", {"PYTHONPATH": str(directory), **environment}))
    return started[-1]


@pytest.mark.parametrize(
    ("per_second", "works"),
    [((0.02, 6_000), False), ((0.0, 0), False), ((0.3, 0), True), ((0.02, 10**6), True)],
)
def test_a_child_works_while_it_computes_or_sends(usage, per_second, works):
    directory, now, used = usage
    child = start(directory)
    for _ in range(10):
        now[0] += 1.0
        used[0] = (used[0][0] + per_second[0], used[0][1] + per_second[1])
        idle = child.seconds_idle()
    assert idle == pytest.approx(0.0 if works else 10.0)


def test_a_gpu_s_driver_that_waits_is_no_work(usage):
    directory, now, used = usage
    child = start(directory, CUDA_VISIBLE_DEVICES="0")
    for _ in range(10):
        now[0] += 1.0
        used[0] = (used[0][0] + 1.0, 0)
        idle = child.seconds_idle()
    assert idle == pytest.approx(10.0)


def test_the_system_tells_what_a_process_uses(tmp_path):
    (tmp_path / "spinning_rank.py").write_text("while True: pass")
    child = Child("spinning_rank", 0, tmp_path / "log", {"PYTHONPATH": str(tmp_path)})
    try:
        while child._usage()[0] < 0.3:
            time.sleep(0.05)
        child.signal(signal.SIGSTOP)
        while not child.is_stopped():
            time.sleep(0.01)
        child._used = child._usage()
        assert child._usage() == child._used
    finally:
        child.kill()
    assert child._usage() == child._used
