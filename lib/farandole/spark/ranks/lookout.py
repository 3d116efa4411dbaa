"""How the driver watches a launch from outside its tasks: whether they start, are alive, and end once one has failed.

Each task touches a file in the launch's directory every second, whatever it waits for. A Python worker that is frozen,
or a host that is cut off, can tell nobody, and the other tasks would wait for it without end: so the driver looks at
these files, says whose task has fallen silent, and cancels the stage. It also does so when a rank has failed and the
stage does not end by itself, since one of the tasks cannot be reached.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from farandole.core.rank_spec import Failure, Outcome, message_from_json
from farandole.errors import FarandoleError, RankError, ResourceError
from farandole.spark.ranks.watch import GRACE_SECONDS, START_SECONDS

SLOTS_SECONDS = 60.0
"""How long a launch may wait for slots that something else holds."""
BEAT_SECONDS = 1.0
END_SECONDS = GRACE_SECONDS + 1.5
"""How long a stage may take to end after a rank has told its failure."""
_POLL_SECONDS = 0.5


@contextmanager
def beating(directory: Path, rank: int) -> Iterator[None]:
    """In a task: touches the rank's file every second until the block ends, or the launch is over."""
    file, stop = directory / f"beat-{rank}", threading.Event()
    file.touch()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            try:
                os.utime(file)  # unlike a write, it needs no room on a full disk
            except FileNotFoundError:
                return
            except OSError:  # a file server that is away for a moment
                continue

    thread = threading.Thread(target=beat, name=f"beat {rank}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()  # Spark uses a Python worker for many tasks


class Lookout:
    """The driver's look at one launch, from __enter__ to __exit__."""

    def __init__(self, directory: Path, num_ranks: int, hang_seconds: float, cancel: Callable[[], None]) -> None:
        """Args:
        directory: of the launch, shared with its tasks.
        num_ranks: of the launch.
        hang_seconds: after which a silent task is given up.
        cancel: ends the stage.
        """
        self.error: FarandoleError | None = None
        """What this lookout has found; the failures that tasks have told are in the directory."""
        self._directory, self._hang_seconds, self._cancel = directory, hang_seconds, cancel
        self._began = time.monotonic()
        self._beats = dict.fromkeys(range(num_ranks), 0)
        self._changed = dict.fromkeys(range(num_ranks), self._began)
        self._failed_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)

    def __enter__(self) -> "Lookout":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def must_end(self, now: float) -> bool:
        """Whether this stage has to be cancelled at this moment (time.monotonic)."""
        for rank, beat in self._beats.items():
            # A file that cannot be read at this moment has not been touched; it was there all the same.
            self._beats[rank] = _time_of(self._directory / f"beat-{rank}") or beat
            if beat != self._beats[rank]:
                self._changed[rank] = now
        if self._failed_at is None and told_failures(self._directory):
            self._failed_at = now
        self.error = self._no_slots(now) or self._silent_task(now)
        return self.error is not None or (self._failed_at is not None and now - self._failed_at > END_SECONDS)

    def _no_slots(self, now: float) -> ResourceError | None:
        if any(self._beats.values()) or now - self._began <= SLOTS_SECONDS:
            return None
        ranks = len(self._beats)
        return ResourceError(
            f"{ranks} ranks waited {SLOTS_SECONDS:.0f} s for {ranks} free slots; other Spark jobs or "
            f"tasks that hang hold them; end those, or lower train.num_ranks"
        )

    def _silent_task(self, now: float) -> RankError | None:
        if not any(self._beats.values()):
            return None
        for rank, beat in self._beats.items():
            silent = now - self._changed[rank]
            if silent > (self._hang_seconds if beat else START_SECONDS):
                return RankError(
                    f"rank {rank}{where(self._directory, rank)}: nothing was heard of its task for {silent:.0f} s; "
                    f"its Python worker or its host is frozen or cut off"
                )
        return None

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                must_end = self.must_end(time.monotonic())
            except OSError:  # a file server that is away for a moment
                continue
            if must_end and not self._stop.is_set():
                self._cancel()
                return


def told_failures(directory: Path) -> list[Outcome]:
    """What tasks have told of their ranks' failures so far, but for the mere loss of another rank."""
    found = []
    for path in directory.glob("failure-*.json"):
        rank = int(path.stem.removeprefix("failure-"))
        try:
            failure = message_from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ResourceError):
            continue
        if isinstance(failure, Failure) and not failure.lost_peer:
            found.append(Outcome(rank, where(directory, rank).removeprefix(" on "), failure))
    return found


def where(directory: Path, rank: int) -> str:
    """ " on HOST" of a rank, as its task has told, or nothing."""
    try:
        return f" on {(directory / f'host-{rank}').read_text(encoding='utf-8')}"
    except OSError:
        return ""


def _time_of(path: Path) -> int:
    """When a file was last touched, in nanoseconds of its server's clock; 0: there is none."""
    try:
        with path.open("rb") as file:  # NFS asks the server when a file is opened, not when its status is read
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0
