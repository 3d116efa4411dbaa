"""The pause between Horovod's cycles, called as its thread calls nanosleep; nothing here waits for a clock."""

import ctypes
from collections.abc import Callable

import pytest

from farandole.train.horovod import cycles
from farandole.train.horovod.cycles import CYCLE_SECONDS, MAX_PAUSE_SECONDS, Cycles

Pause = Callable[[float], list[tuple[str, float]]]


@pytest.fixture
def pausing(monkeypatch: pytest.MonkeyPatch) -> tuple[Cycles, Pause]:
    """Cycles that are paused, and a function that pauses once, when so many seconds of a cycle are left, and returns
    how: ("wait", the longest) for a sum, or ("sleep", seconds)."""
    found, functions, done = Cycles(), [], []
    monkeypatch.setattr(cycles, "redirect", lambda library, name, function: functions.append(function) or 1)
    assert found.pause(ctypes.CDLL(None)) == 1
    monkeypatch.setattr(cycles.time, "sleep", lambda seconds: done.append(("sleep", seconds)))
    monkeypatch.setattr(found._has_sums, "wait", lambda seconds: done.append(("wait", seconds)))

    def pause(left: float) -> list[tuple[str, float]]:
        done.clear()
        assert functions[0](cycles._Timespec(int(left), round(left % 1 * 1e9)), None) == 0
        return done

    return found, pause


def test_without_sums_it_waits_for_one(pausing: tuple[Cycles, Pause]) -> None:
    found, pause = pausing
    assert pause(CYCLE_SECONDS) == [("wait", MAX_PAUSE_SECONDS)]
    with found.summing():
        pass
    assert pause(CYCLE_SECONDS) == [("wait", MAX_PAUSE_SECONDS)]


def test_while_there_are_sums_cycles_are_short(pausing: tuple[Cycles, Pause]) -> None:
    found, pause = pausing
    with found.summing():
        found.begin()
        assert pause(CYCLE_SECONDS) == [("sleep", pytest.approx(0.0002))]  # the cycle took no time
        assert pause(CYCLE_SECONDS - 0.00015) == [("sleep", pytest.approx(0.00005))]
        assert pause(CYCLE_SECONDS - 0.003) == [("sleep", 0.0)]  # it took longer than two of them should
        found.end()
        assert pause(CYCLE_SECONDS)[0][0] == "sleep"  # one of two has ended
    assert pause(CYCLE_SECONDS)[0][0] == "wait"


def test_a_sum_that_begins_ends_the_pause(pausing: tuple[Cycles, Pause]) -> None:
    found, _ = pausing
    assert not found._has_sums.is_set()
    found.begin()
    assert found._has_sums.is_set()  # what the thread waits for


def test_a_sum_that_fails_has_ended(pausing: tuple[Cycles, Pause]) -> None:
    found, pause = pausing
    with pytest.raises(KeyError), found.summing():
        raise KeyError
    assert pause(CYCLE_SECONDS)[0][0] == "wait"


def test_before_they_are_paused_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycles, "redirect", lambda *_: 1)
    found = Cycles()
    found.begin()  # such as on a GPU
    found.pause(ctypes.CDLL(None))
    found.begin()
    found.end()
    assert not found._has_sums.is_set()
