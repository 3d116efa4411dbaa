"""Trains digits again and again while ranks, Python workers, executors and drivers are killed at random moments.

    ./do soak [--kills 100] [--minutes 60] [--seed 0]

Each run must end with the receipts and, to the bit, the weights of one that nobody disturbed, and each kill must be
noticed within 30 seconds. Prints a table; exit code 1 if anything in it is wrong. Only processes of its own are killed.
"""

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil
from victims import Victims, start_job

MASTERS = ("local[2]", "local-cluster[2,1,1024]")
KINDS = ("rank", "rank stopped", "Python worker", "executor", "driver")
SECONDS = 30.0
"""Within which a kill must be noticed, and no rank of a killed driver may be left."""
STANDSTILL_SECONDS = 240.0
"""Without any step, no kill pending: then the run hangs. Long, as a busy machine imports TensorFlow slowly."""
SETTINGS = (
    "model.name=mlp", "model.arguments={hidden_units=[64]}", "train.epochs=40", "train.checkpoint_every_steps=10",
    "train.log_every_steps=10", "train.max_restarts=1000", "train.hang_seconds=5.0",
)  # fmt: skip


class Soak:
    """The runs so far, and what went wrong in them."""

    def __init__(self, work: Path, seed: int, kills: int, minutes: float) -> None:
        self.work, self.rng, self.kills = work, random.Random(seed), kills
        self.deadline = time.monotonic() + 60 * minutes
        self.noticed: dict[str, list[float]] = defaultdict(list)
        """Kind of kill -> seconds until all ranks of that moment were gone."""
        self.wrong: Counter[str] = Counter()
        self.num_runs = 0

    @property
    def num_kills(self) -> int:
        return sum(map(len, self.noticed.values()))

    def run(self) -> None:
        """One undisturbed run, then disturbed ones until there are enough kills, or the time is over."""
        calm = self._finish(start_job("train", MASTERS[0], self._settings("calm"), self.work / "calm.log"))
        if calm:
            sys.exit(f"error[1]: the undisturbed run ended with {calm}; see {self.work / 'calm.log'}")
        while self.num_kills < self.kills and time.monotonic() < self.deadline:
            self.num_runs += 1
            self._disturbed_run(f"run-{self.num_runs}", self.rng.choice(MASTERS), self.rng.randint(3, 8))
            print(f"{self.num_runs} runs, {self.num_kills} kills, wrong: {dict(self.wrong)}", flush=True)

    def _disturbed_run(self, name: str, master: str, kills: int) -> None:
        log = self.work / f"{name}.log"
        job = start_job("train", master, self._settings(name), log)
        victims = Victims(job, self.work / "runs" / name)
        for _ in range(kills):
            if not self._wait_for_moment(victims):
                break
            kind = self.rng.choice([kind for kind in KINDS if kind != "executor" or "cluster" in master])
            if kind == "driver":
                self._kill(victims, kind)
                job.kill()
                job.wait()
                job = start_job("train", master, self._settings(name), log)
                victims = Victims(job, self.work / "runs" / name)
            else:
                self._kill(victims, kind)
        code = self._finish(job)
        if code:
            self.wrong["exit code not 0"] += 1
            print(f"{name} ended with {code}; see {log}", flush=True)
        elif code == 0:
            self._compare(name)
        self.wrong["leftovers"] += len(victims.leftovers())

    def _settings(self, name: str) -> list[str]:
        return [*SETTINGS, f"paths.work={self.work}", f"train.run_name={name}"]

    def _wait_for_moment(self, victims: Victims) -> bool:
        """Until there is something to disturb: mostly in training, sometimes while ranks start. False: it has ended."""
        early, started = self.rng.random() < 0.25, time.monotonic()
        while time.monotonic() - started < STANDSTILL_SECONDS:
            if victims.has_ended():
                return False
            if victims.ranks() and (early or victims.has_progressed()):
                time.sleep(self.rng.uniform(0.0, 6.0 if early else 2.0))  # not to wait for anything: at random
                return not victims.has_ended()
            time.sleep(0.1)
        self.wrong["hangs"] += 1
        print("no step was made; the run is given up", flush=True)
        victims.end()
        return False

    def _kill(self, victims: Victims, kind: str) -> None:
        ranks = victims.ranks()
        chosen = victims.choose(kind, self.rng)
        if chosen is None or not ranks:
            return
        killed_at = time.monotonic()
        try:
            chosen.send_signal(signal.SIGSTOP if kind == "rank stopped" else signal.SIGKILL)
        except psutil.NoSuchProcess:
            return
        _, alive = psutil.wait_procs(ranks, timeout=SECONDS)
        self.noticed[kind].append(time.monotonic() - killed_at)
        if alive:
            self.wrong["hangs"] += 1
            print(f"{kind} {chosen.pid}: ranks {[p.pid for p in alive]} still ran after {SECONDS:.0f} s", flush=True)
        victims.forget_progress()

    def _finish(self, job: psutil.Popen) -> int | None:
        try:
            return int(job.wait(STANDSTILL_SECONDS * 2))
        except psutil.TimeoutExpired:
            self.wrong["hangs"] += 1
            Victims(job, self.work).end()
            return None

    def _compare(self, name: str) -> None:
        for wrong, file in (("receipts wrong", "receipts.jsonl"), ("weights differ", "model/weights.safetensors")):
            mine, calm = (self.work / "runs" / run / file for run in (name, "calm"))
            if mine.read_bytes() != calm.read_bytes():
                self.wrong[wrong] += 1
                print(f"{name}: {wrong}: {mine} is not as {calm}", flush=True)

    def table(self) -> str:
        lines = ["| killed | times | noticed after, median s | at most s |", "|---|---|---|---|"]
        for kind in KINDS:
            seconds = self.noticed[kind] or [0.0]
            median, longest = statistics.median(seconds), max(seconds)
            lines.append(f"| {kind} | {len(self.noticed[kind])} | {median:.1f} | {longest:.1f} |")
        found = ("hangs", "receipts wrong", "weights differ", "exit code not 0", "leftovers")
        return "\n".join([
            *lines, "",
            f"{self.num_kills} kills in {self.num_runs} runs; "
            + ", ".join(f"{name}: {self.wrong[name]}" for name in found),
        ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="./do soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="end after so many (default: 100)")
    parser.add_argument("--minutes", type=float, default=60.0, help="start no more runs after so many (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, kinds and victims (default: 0)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="farandole-soak-"))
    print(f"in {work}, which stays there if anything is wrong", flush=True)
    soak = Soak(work, options.seed, options.kills, options.minutes)
    soak.run()
    print(soak.table())
    if sum(soak.wrong.values()):
        sys.exit(1)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
