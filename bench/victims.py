"""The processes of one training job, for those who kill some of them: found by descent from the job, never by name."""

import os
import random
import subprocess
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
RANK = "farandole.train.rank"


def start_job(job: str, master: str, settings: list[str], log: Path) -> psutil.Popen:
    """spark-submit of a job on this machine; what it prints is appended to the log."""
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    command = ["spark-submit", "--master", master, "--conf", "spark.deploy.maxExecutorRetries=-1"]
    # Executors are processes of their own, which take Python and our package from the environment.
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("ab") as file:
        return psutil.Popen(
            [*command, str(ROOT / "jobs" / f"{job}.py"), *arguments],
            env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip


class Victims:
    """All processes of one job, and whether it makes progress."""

    def __init__(self, job: psutil.Popen, run: Path) -> None:
        self._job, self._history = job, run / "metrics.jsonl"
        self._seen: dict[int, psutil.Process] = {}
        self._shared_memory = set(os.listdir("/dev/shm"))
        self.forget_progress()

    def follow(self, job: psutil.Popen) -> None:
        """From now on those of another job, which goes on with the run; what the first one leaves counts as well."""
        self._job = job
        self.forget_progress()

    def has_ended(self) -> bool:
        return self._job.poll() is not None

    def family(self) -> list[psutil.Process]:
        """The job's process and all below it."""
        try:
            found = [psutil.Process(self._job.pid), *psutil.Process(self._job.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            found = []
        self._seen.update({process.pid: process for process in found})
        return found

    def ranks(self) -> list[psutil.Process]:
        return [process for process in self.family() if RANK in _command(process)]

    def choose(self, kind: str, rng: random.Random) -> psutil.Process | None:
        """A process of that kind, or None where there is none at this moment."""
        ranks = self.ranks()
        try:
            if kind in ("rank", "rank stopped"):
                found = ranks
            elif kind in ("Python worker", "Python worker stopped"):
                found = [parent for rank in ranks if (parent := rank.parent())]
            elif kind == "executor":
                found = [p for p in self.family() if any("CoarseGrainedExecutor" in word for word in _command(p))]
            else:  # the JVM of spark-submit, or the Python program below it
                programs = [p for p in self.family() if any(word.endswith("jobs/train.py") for word in _command(p))]
                found = programs
        except psutil.NoSuchProcess:
            return None
        return rng.choice(sorted(found, key=lambda process: process.pid)) if found else None

    def forget_progress(self) -> None:
        """What was written up to now is no progress."""
        self._last = self._size()

    def has_progressed(self) -> bool:
        """Whether metrics.jsonl has grown since the last call. A file cut back by a resume is another one."""
        before, self._last = self._last, self._size()
        return before[0] == self._last[0] and before[1] < self._last[1]

    def leftovers(self) -> list[str]:
        """Processes, shared memory and files that the job has left, after its end."""
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=30)
        new = set(os.listdir("/dev/shm")) - self._shared_memory
        files = [*self._history.parent.glob("**/.*.partial"), *self._history.parent.glob("logs/launch-*")]
        return [*map(str, alive), *new, *map(str, files)]

    def end(self) -> None:
        """Kills the whole job."""
        for process in self.family():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._job.wait()

    def _size(self) -> tuple[int, int]:
        try:
            status = self._history.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
