"""What the heartbeat tells of a rank."""

import pytest

from farandole.core.rank_spec import Phase, RankState
from farandole.train import progress as module
from farandole.train.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_phases_steps_and_how_long_they_usually_take(clock):
    progress = Progress()
    assert progress.state() == RankState(-1, 0, Phase.STARTING, seconds=0.0, usual_seconds=None, reading="")
    for seconds in (1.0, 5.0, 2.0):
        progress.enter(Phase.COMPUTING)
        clock[0] += seconds
        progress.finish_step(7, 1)
    progress.enter(Phase.COMPUTING)
    clock[0] += 4.0
    state = progress.state()
    assert (state.step, state.epoch, state.phase) == (7, 1, Phase.COMPUTING)
    assert (state.seconds, state.usual_seconds) == (4.0, 2.0)


def test_a_row_group_is_progress_and_is_named(clock):
    progress = Progress()
    progress.enter(Phase.READING)
    clock[0] += 9.0
    progress.read("a.parquet, row group 3")
    clock[0] += 2.0
    assert (progress.state().seconds, progress.state().reading) == (2.0, "a.parquet, row group 3")
    progress.read("")
    assert (progress.state().seconds, progress.state().reading) == (0.0, "")


def test_a_step_that_has_reached_its_sum_waits_for_others():
    progress = Progress()
    progress.has_entered_sum = lambda: True
    assert progress.state().phase == Phase.STARTING
    progress.enter(Phase.COMPUTING)
    assert progress.state().phase == Phase.SUMMING
    progress.finish_step(1, 0)
    assert progress.state().phase == Phase.COUNTING


def test_the_wait_in_a_sum_begins_where_the_own_part_of_a_step_ends(clock):
    """A first step of 25 s is no wait of 25 s: two ranks that end theirs together were taken for a deadlock."""
    progress, entered = Progress(), []
    progress.has_entered_sum = lambda: bool(entered)
    progress.enter(Phase.COMPUTING)
    clock[0] += 25.0
    assert (progress.state().phase, progress.state().seconds) == (Phase.COMPUTING, 25.0)
    entered.append(True)
    assert (progress.state().phase, progress.state().seconds) == (Phase.SUMMING, 0.0)
    clock[0] += 3.0
    assert (progress.state().phase, progress.state().seconds) == (Phase.SUMMING, 3.0)
    progress.finish_step(1, 0)
    progress.enter(Phase.COMPUTING)
    entered.clear()
    clock[0] += 4.0
    assert (progress.state().phase, progress.state().seconds) == (Phase.COMPUTING, 4.0)
