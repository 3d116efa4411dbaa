"""When Horovod's background thread looks for sums: while there is one, and hardly ever otherwise.

In every cycle of Horovod 0.28.1 all ranks tell each other which tensors are ready, whether there are any or not. Long
cycles would make every sum wait for the end of one; cycles of a millisecond cost ranks that train on processors a tenth
of their time. So the thread's pause between cycles, a call of nanosleep, is redirected: it lasts until a sum begins.

Ranks need not begin one at the same time: a cycle waits for the other ranks' threads, and theirs end their pause when
their own sum begins, or after MAX_PAUSE_SECONDS, which Horovod's look-out for stalled ranks and failures needs.
"""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from farandole.train.horovod.libc_calls import redirect

CYCLE_SECONDS = 0.05
"""What HOROVOD_CYCLE_TIME is set to: longer than any cycle without sums, after which Horovod does not pause at all."""
SUM_CYCLE_SECONDS = 0.0002
"""How far apart cycles of Horovod start while a sum is on its way."""
MAX_PAUSE_SECONDS = 0.02
"""How long Horovod rests at most between two cycles."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


_Nanosleep = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Timespec), ctypes.c_void_p)


class Cycles:
    """The cycles of this process's Horovod, which until `pause` is called are as Horovod has them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_sums = 0
        self._has_sums = threading.Event()
        self.are_paused = False
        """Whether `pause` was called."""

    def pause(self, library: ctypes.CDLL) -> int:
        """From now on the thread pauses while there are no sums; returns how many pointers were redirected.

        Raises:
            RankError: as libc_calls.redirect.
        """
        self.are_paused = True
        return redirect(library, "nanosleep", _Nanosleep(self._nanosleep))

    def begin(self) -> None:
        """A sum begins in this process; its tensors are ready or about to be."""
        if self.are_paused:
            with self._lock:
                self._num_sums += 1
                self._has_sums.set()

    def end(self) -> None:
        """The sum is there."""
        if self.are_paused:
            with self._lock:
                self._num_sums -= 1
                if not self._num_sums:
                    self._has_sums.clear()

    @contextmanager
    def summing(self) -> Iterator[None]:
        """Around a sum that is computed at once."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def _nanosleep(self, wanted: Any, _remaining: int | None) -> int:
        if self._has_sums.is_set():
            left = wanted.contents.seconds + wanted.contents.nanoseconds * 1e-9  # of a cycle of CYCLE_SECONDS
            time.sleep(max(0.0, left - CYCLE_SECONDS + SUM_CYCLE_SECONDS))
        else:
            self._has_sums.wait(MAX_PAUSE_SECONDS)
        return 0
