"""One rank's process as the task that started it sees it: JSON lines in and out, a log file, and a clock."""

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from farandole.core.rank_spec import Failure, Joined, Meeting, Message, RankSpec, RankState, message_from_json, to_json
from farandole.errors import ResourceError

LOG_TAIL_LINES = 60
BUSY_SHARE, BUSY_BYTES = 0.1, 128 * 1024
"""A process works that uses a processor for more of the time, or writes more bytes in a second. One that waits in a sum
takes 0.02 and 6,000: Horovod's thread, and heartbeats."""
_LOOK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # found before the fork: what runs between it and exec must need no lock


@dataclass(frozen=True)
class Exited:
    """After its last message: the process has ended."""

    code: int
    """Its returncode: below zero, the signal that killed it."""


class Child:
    """A process of its own session, so that stopping it stops all that it started."""

    def __init__(self, module: str, rank: int, log: Path, environment: dict[str, str]) -> None:
        """Starts it; it imports what it needs and waits for its spec, see `begin`."""
        self._log_path = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=_die_with_starter,
                text=True,
                encoding="utf-8",
            )
        self.pid = self._process.pid
        self.state: RankState | None = None
        """What its newest heartbeat told."""
        self.has_joined = False
        """Whether it has met the other ranks."""
        self.last_heard = time.monotonic()
        # A GPU's driver waits at a processor's full speed: there it says nothing.
        self._tells_work = environment.get("CUDA_VISIBLE_DEVICES", "-1") == "-1"
        self._looked = self._worked = self.last_heard
        self._used: tuple[float, int] = (0.0, 0)
        self._messages: queue.Queue[Message | Exited] = queue.Queue()
        threading.Thread(target=self._listen, name=f"rank {rank}", daemon=True).start()

    def begin(self, spec: RankSpec) -> None:
        """Tells it what to do."""
        self.last_heard = time.monotonic()
        self.send(spec)

    def send(self, message: RankSpec | Meeting) -> None:
        """Writes one line; that a child has died shows in next_message, not here."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(to_json(message) + "\n")
            self._process.stdin.flush()

    def next_message(self, timeout_seconds: float) -> Message | Exited | None:
        """The next message that is not a heartbeat, Exited after the last one, or None in time."""
        try:
            return self._messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def seconds_silent(self) -> float:
        """Since it was last heard of, heartbeats included."""
        return time.monotonic() - self.last_heard

    def seconds_idle(self) -> float:
        """Since it last worked, as the system says: what is stopped, or waits, neither computes nor writes; a sum
        over a slow network writes. Of a rank with a GPU: since it started."""
        now = time.monotonic()
        if self._tells_work and now - self._looked >= _LOOK_SECONDS:
            used, (cpu_seconds, num_bytes), passed = self._usage(), self._used, now - self._looked
            if used[0] - cpu_seconds > BUSY_SHARE * passed or used[1] - num_bytes > BUSY_BYTES * passed:
                self._worked = now
            self._looked, self._used = now, used
        return now - self._worked

    def _usage(self) -> tuple[float, int]:
        """CPU seconds, and bytes written to files and sockets; what was known before where the system tells nothing."""
        try:
            process = psutil.Process(self.pid)
            times, written = process.cpu_times(), process.io_counters()
            return float(times.user + times.system), int(written.write_chars)
        except psutil.Error:  # it has ended, or a sandbox hides it
            return self._used

    def is_stopped(self) -> bool:
        """Whether something has stopped it (SIGSTOP), as the system says: at once, unlike silence."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def log_tail(self) -> str:
        """The last lines of its log."""
        try:
            return "\n".join(
                self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
            )
        except OSError:
            return ""

    def signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self._process.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends the process and everything in its session, and waits until it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.last_heard = time.monotonic()
            try:
                message = message_from_json(line)
            except ResourceError as error:
                message = Failure(str(error), error.exit_code)
            if isinstance(message, RankState):
                self.state = message
            elif isinstance(message, Joined):
                self.has_joined = True
            elif message:
                self._messages.put(message)
        self._messages.put(Exited(self._process.wait()))


def _die_with_starter() -> None:
    """In the new process, before Python starts in it: the kernel kills it when the task that started it ends.

    Python takes seconds to start on a busy machine, in which it could not ask for this, being stopped, say.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
