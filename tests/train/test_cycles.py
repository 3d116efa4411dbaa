"""The pause between Horovod's cycles, called as its thread calls nanosleep."""

import ctypes
import threading
import time

import pytest

from farandole.train import cycles
from farandole.train.cycles import Cycles


@pytest.fixture
def pausing(monkeypatch):
    """Cycles that have begun to pause, and a function that pauses once and returns for how many seconds it did."""
    found, functions = Cycles(), []
    monkeypatch.setattr(cycles, "redirect", lambda library, name, function: functions.append(function) or 1)
    assert found.pause(ctypes.CDLL(None)) == 1

    def pause(milliseconds: int = 1) -> float:
        started = time.monotonic()
        assert functions[0](cycles._Timespec(0, milliseconds * 1_000_000), None) == 0
        return time.monotonic() - started

    return found, pause


def test_without_sums_a_pause_is_as_long_as_it_may_be(pausing, monkeypatch):
    _, pause = pausing
    monkeypatch.setattr(cycles, "MAX_PAUSE_SECONDS", 0.3)
    assert 0.25 < pause() < 10


def test_a_sum_that_begins_ends_the_pause(pausing, monkeypatch):
    found, pause = pausing
    monkeypatch.setattr(cycles, "MAX_PAUSE_SECONDS", 60.0)
    threading.Timer(0.1, found.begin).start()
    assert pause() < 30


def test_while_there_are_sums_a_pause_is_as_long_as_horovod_wants(pausing, monkeypatch):
    found, pause = pausing
    monkeypatch.setattr(cycles, "MAX_PAUSE_SECONDS", 60.0)
    with found.summing():
        found.begin()
        assert pause(milliseconds=100) > 0.09
        found.end()
        assert pause() < 30  # one of two has ended
    monkeypatch.setattr(cycles, "MAX_PAUSE_SECONDS", 0.3)
    assert pause() > 0.25


def test_a_sum_that_fails_has_ended(pausing, monkeypatch):
    found, pause = pausing
    monkeypatch.setattr(cycles, "MAX_PAUSE_SECONDS", 0.3)
    with pytest.raises(KeyError), found.summing():
        raise KeyError
    assert pause() > 0.25


def test_before_horovod_pauses_nothing_is_counted(monkeypatch):
    monkeypatch.setattr(cycles, "redirect", lambda *_: 1)
    found = Cycles()
    found.begin()  # such as in a process without other ranks
    found.pause(ctypes.CDLL(None))
    found.begin()
    found.end()
    assert not found._has_sums.is_set()
