"""What a rank is doing and for how long. The heartbeat tells it, so that the launcher sees who holds up the rest."""

import statistics
import time
from collections import deque
from collections.abc import Callable

from farandole.core.rank_spec import Phase, RankState

_REMEMBERED = 50
"""How many durations of each phase are kept; their median is what the phase usually takes."""


class Progress:
    """Written by the training thread and the reader's, read by the heartbeat's; a stale value lasts for one beat."""

    def __init__(self) -> None:
        self.step, self.epoch = -1, 0
        self.has_entered_sum: Callable[[], bool] = lambda: False
        """Whether the step that computes has already reached its sum over ranks: TensorFlow alone knows."""
        self._phase, self._since = Phase.STARTING, time.monotonic()
        self._moved = self._since
        self._is_in_sum = False
        self._reading = ""
        self._seconds: dict[Phase, deque[float]] = {}

    def enter(self, phase: Phase) -> None:
        """The main thread goes over to something else."""
        now = time.monotonic()
        self._seconds.setdefault(self._phase, deque(maxlen=_REMEMBERED)).append(now - self._since)
        self._phase, self._since, self._moved = phase, now, now

    def finish_step(self, step: int, epoch: int) -> None:
        """`step` optimizer steps of the run are done."""
        self.enter(Phase.COUNTING)
        self.step, self.epoch = step, epoch

    def read(self, where: str) -> None:
        """A file and row group is about to be read, by any thread; "" when that is done."""
        self._reading, self._moved = where, time.monotonic()

    def state(self) -> RankState:
        """For the heartbeat."""
        phase, past = self._phase, list(self._seconds.get(self._phase, ()))
        is_in_sum = phase == Phase.COMPUTING and self.has_entered_sum()
        if is_in_sum and not self._is_in_sum:  # its own part took as long as it took: the wait for others begins now
            self._moved = time.monotonic()
        self._is_in_sum = is_in_sum
        return RankState(
            step=self.step,
            epoch=self.epoch,
            phase=Phase.SUMMING if is_in_sum else phase,
            seconds=round(time.monotonic() - self._moved, 1),
            usual_seconds=round(statistics.median(past), 3) if past else None,
            reading=self._reading,
        )
