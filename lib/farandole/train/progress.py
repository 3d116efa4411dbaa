"""What a rank is doing and for how long. The heartbeat tells it, so that the launcher sees who holds up the rest.

Phases: starting, opening (a reader), reading (waits for a batch), computing, summing (waits for the other ranks),
counting, evaluating, saving, logging, writing (the last checkpoint). A rank that stands still in "summing" is a victim;
one that does in any other phase is the culprit.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

_REMEMBERED = 50
"""How many durations of each phase are kept; their median is what the phase usually takes."""


class Progress:
    """Written by the training thread and the reader's, read by the heartbeat's; a stale value lasts for one beat."""

    def __init__(self) -> None:
        self.step, self.epoch = -1, 0
        self.has_entered_sum: Callable[[], bool] = lambda: False
        """Whether the step that computes has already reached its sum over ranks: TensorFlow alone knows."""
        self._phase, self._since = "starting", time.monotonic()
        self._moved = self._since
        self._reading = ""
        self._seconds: dict[str, deque[float]] = {}

    def enter(self, phase: str) -> None:
        """The main thread goes over to something else."""
        now = time.monotonic()
        self._seconds.setdefault(self._phase, deque(maxlen=_REMEMBERED)).append(now - self._since)
        self._phase, self._since, self._moved = phase, now, now

    def finish_step(self, step: int, epoch: int) -> None:
        """`step` optimizer steps of the run are done."""
        self.enter("counting")
        self.step, self.epoch = step, epoch

    def read(self, where: str) -> None:
        """A file and row group is about to be read, by any thread; "" when that is done."""
        self._reading, self._moved = where, time.monotonic()

    def state(self) -> dict[str, Any]:
        """For the heartbeat: step, epoch, phase, seconds without any progress, seconds that the phase usually takes
        (None: it never ended before), and what is being read."""
        phase, past = self._phase, list(self._seconds.get(self._phase, ()))
        return {
            "step": self.step,
            "epoch": self.epoch,
            "phase": "summing" if phase == "computing" and self.has_entered_sum() else phase,
            "seconds": round(time.monotonic() - self._moved, 1),
            "usual_seconds": round(statistics.median(past), 3) if past else None,
            "reading": self._reading,
        }
