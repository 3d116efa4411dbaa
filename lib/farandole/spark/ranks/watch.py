"""How the task of one rank judges its child: dead, silent, standing still, done; and how it hears of other ranks.

The tasks of one launch share a directory, of that launch alone. A task whose rank fails leaves failure-RANK.json in it,
and the others end theirs. A task whose rank stands still in a sum leaves waiting-RANK: only when all ranks do is that a
failure, as otherwise another rank computes or reads, and its own task judges that. One whose rank is done leaves
done-RANK, and stays until all are. When the directory is gone, the driver has given up this launch, and whoever still
runs ends: a stale rank never writes beside its successor.
A task that is frozen or cut off itself tells nothing: that is for the driver to see (lookout.py).
"""

import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from farandole.core.dataset.commit import write_text
from farandole.core.rank_spec import Failure, Message, Phase, RankState, Result, to_json
from farandole.spark.ranks.child import Child, Exited

START_SECONDS = 300.0
"""How long a rank may take to import TensorFlow and meet the others, and for what it does for the first time."""
GRACE_SECONDS = 2.0
"""How long the other ranks may take to end by themselves after one has failed: their own words go to their logs."""
PATIENCE = 10
"""Something may take so many times longer than it usually does."""
PEER_FAILED = "stopped because another rank had failed"
WORKING_SECONDS = 3600.0
"""How long a rank may work without progress: a step takes less, a loop without end more."""
_POLL_SECONDS = 0.25
_STACK_SECONDS = 0.5


class Watch:
    """The watch of one task over its child."""

    def __init__(self, child: Child, rank: int, num_ranks: int, directory: Path, hang_seconds: float) -> None:
        self._child, self._num_ranks, self._directory, self._hang_seconds = child, num_ranks, directory, hang_seconds
        self._rank = rank
        self._failure_file = directory / f"failure-{rank}.json"
        self._waiting_file = directory / f"waiting-{rank}"
        self._peer_failed_at: float | None = None

    def first_message(self) -> Message | Exited:
        """What the child says first, before it has met the others, or what is wrong with it."""
        while True:
            message = self._child.next_message(_POLL_SECONDS) or self._judge(set())
            if message:
                return message

    def outcome(self, message: Message | Exited | None) -> Result | Failure:
        """Waits for the end. `message` is one that the child has sent already, if any."""
        while True:
            message = message or self._child.next_message(_POLL_SECONDS)
            if isinstance(message, Result):
                return message
            try:
                names = {path.name for path in self._directory.iterdir()}
                failure = self._failure_in(message) if message else self._judge(names)
                if failure:
                    self._tell(failure)
                    return failure
            except FileNotFoundError:
                return Failure("stopped because the driver gave up this launch", lost_peer=True)
            message = None
            if self._peer_failed_at is None and any(name.startswith("failure-") for name in names):
                self._peer_failed_at = time.monotonic()
            if self._peer_failed_at is not None and time.monotonic() - self._peer_failed_at > GRACE_SECONDS:
                return Failure(PEER_FAILED, lost_peer=True)

    def _tell(self, failure: Failure) -> None:
        """Raises FileNotFoundError where the launch is over. On a full disk the task's own result must do."""
        try:
            write_text(self._failure_file, to_json(failure) + "\n")
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise

    def stay(self) -> None:
        """After a result: returns when all ranks have theirs, since they may still be receiving the last sum from this
        one, or one has failed, or the launch is over.

        Not Spark's own barrier: a task that is killed inside it takes its whole executor with it (Spark 4.0.5).
        """
        with suppress(FileNotFoundError):
            (self._directory / f"done-{self._rank}").touch()
            while True:
                names = [path.name.split("-")[0] for path in self._directory.iterdir()]
                if "failure" in names or names.count("done") == self._num_ranks:
                    return
                time.sleep(_POLL_SECONDS)

    def _failure_in(self, message: Message | Exited) -> Failure | None:
        if isinstance(message, Failure):
            return replace(message, time=time.time())
        if isinstance(message, Exited):
            code = message.code
            how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code} and no result"
            hint = "; out of memory is the usual reason" if code == -9 else ""
            seen = last_seen(self._child.state)
            return Failure(f"the process {how}, {seen}{hint}", traceback=self._child.log_tail())
        return None

    def _judge(self, names: set[str]) -> Failure | None:
        state, silent, idle = self._child.state, self._child.seconds_silent(), self._child.seconds_idle()
        # An import, or a long copy, may keep all its threads from running, but does not stop the process.
        may_be_silent = idle < self._hang_seconds or not self._child.has_joined
        allowed = START_SECONDS if may_be_silent and not self._child.is_stopped() else self._hang_seconds
        if silent > allowed:
            return self._hang(f"nothing was heard for {allowed:.0f} s, {last_seen(state)}; it hangs or was stopped")
        if state is None:
            return None
        stands_still = f"no progress for {state.seconds:.0f} s, {last_seen(state)}; it hangs"
        if not self._child.has_joined:
            # gloo gives up sooner, if it comes to that
            return self._hang(stands_still) if state.seconds > 2 * START_SECONDS else None
        # What works is slow, whatever is usual, and no hang; but not for ever.
        allowed = allowed_seconds(state, self._hang_seconds)
        stuck = min(state.seconds, idle) > allowed or state.seconds > max(allowed, WORKING_SECONDS)
        waits = stuck and state.phase == Phase.SUMMING
        if stuck and not waits:
            return self._hang(stands_still)
        self._tell_that_it_waits(waits, self._waiting_file.name in names)
        if waits and sum(name.startswith("waiting-") for name in names) == self._num_ranks:
            return self._hang(
                f"all {self._num_ranks} ranks wait for each other in a sum since {state.seconds:.0f} s, "
                f"{last_seen(state)}; the network between them is down, or they are at different sums"
            )
        return None

    def _tell_that_it_waits(self, waits: bool, told: bool) -> None:
        if waits and not told:
            self._waiting_file.touch()
        elif told and not waits:
            self._waiting_file.unlink(missing_ok=True)

    def _hang(self, message: str) -> Failure:
        """With the stacks of all its threads, which a process that runs at all writes to its log."""
        self._child.signal(signal.SIGUSR1)
        time.sleep(_STACK_SECONDS)
        return Failure(message, traceback=self._child.log_tail())


def allowed_seconds(state: RankState, hang_seconds: float) -> float:
    """How long a rank in this state may make no progress.

    hang_seconds, or PATIENCE times what the phase usually takes, if that is more. What was never done before may take
    START_SECONDS, since TensorFlow then builds its graphs; reading and waiting build none.
    """
    if state.usual_seconds is None:
        return hang_seconds if state.phase in (Phase.READING, Phase.SUMMING) else START_SECONDS
    return max(hang_seconds, PATIENCE * state.usual_seconds)


def last_seen(state: RankState | None) -> str:
    """For messages: what a rank was doing when it was last heard of."""
    if state is None:
        return "before it had started"
    doing = f"while {state.phase}" + (f" {state.reading}" if state.reading else "")
    if state.reading and state.phase != Phase.READING:
        doing = f"while {state.phase} and reading {state.reading}"
    if state.step < 0:
        return f"{doing}, before its first step"
    return f"{doing}, after step {state.step} (epoch {state.epoch})"
