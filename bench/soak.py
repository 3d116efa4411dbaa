"""Trains digits again and again while ranks, Python workers, executors and drivers are killed at random moments.

    ./do soak [--kills 100] [--minutes 60] [--seed 0] [--work DIR]

Each run must end with the receipts and, to the bit, the weights of one that nobody disturbed, and each kill must be
noticed within 30 seconds. Prints a table; exit code 1 if anything in it is wrong. Only processes of its own are killed.
With --work, the same command goes on where the last one ended: its runs and kills count as well.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from victims import Victims, start_job

MASTERS = ("local[2]", "local-cluster[2,1,1024]")
KINDS = ("rank", "rank stopped", "Python worker", "Python worker stopped", "executor", "driver")
WRONG = ("hangs", "receipts wrong", "weights differ", "exit code not 0", "leftovers")
SECONDS = 30.0
"""Within which a kill must be noticed, and no rank of a killed driver may be left."""
STANDSTILL_SECONDS = 400.0
"""Without any step, no kill pending: then the run hangs. Long, as a busy machine imports TensorFlow slowly."""
MOMENTS_PER_RUN = (8, 14)
AT_ONCE = (1, 2, 3, 4)
"""How many processes are killed in one moment, one right after the other."""
EARLY = 0.65
"""Of the moments, so many come while ranks start: they are cheap, and no less dangerous. The others are in training."""
SETTINGS = (
    "model.name=mlp", "model.arguments={hidden_units=[64]}", "train.epochs=40", "train.checkpoint_every_steps=10",
    "train.log_every_steps=10", "train.max_restarts=1000", "train.hang_seconds=5.0",
    "train.slots_wait_seconds=600.0",  # a busy machine takes more than a minute to start two executors
)  # fmt: skip


class Soak:
    """The runs so far, and what went wrong in them: soak.jsonl in the work directory has a line for each kill and run.

    A kill: {"kind", "run", "at_once", "seconds"}: seconds until all ranks of that moment were gone, at_once how many
    processes were killed in that moment. A run: {"run", "kills", "wrong", "seconds", "load"}.
    """

    def __init__(self, work: Path, seed: int, kills: int, minutes: float) -> None:
        self.work, self.seed, self.kills = work, seed, kills
        self.deadline = time.monotonic() + 60 * minutes
        self.file = work / "soak.jsonl"
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        compared = {line["run"] for line in found if "kills" in line}
        self.lines = [line for line in found if line["run"] in compared]  # not those of a run that was broken off
        self.file.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        self.wrong: list[str] = []
        """Of the run that is going on."""

    def run(self) -> None:
        """One undisturbed run, then disturbed ones until there are enough kills, or the time is over."""
        if not (self.work / "runs/calm/metrics.json").exists():
            self.name, log = "calm", self.work / "calm.log"
            code = self._finish(start_job("train", MASTERS[0], self._settings("calm"), log))
            if code != 0:
                sys.exit(f"error[1]: the undisturbed run ended with {code}; see {log}")
        while self._num_kills() < self.kills and time.monotonic() < self.deadline:
            number = len(self._runs()) + 1
            self.name, self.rng, self.wrong = f"run-{number}", random.Random(f"{self.seed} {number}"), []
            shutil.rmtree(self.work / "runs" / self.name, ignore_errors=True)  # of an invocation that was broken off
            started, before = time.monotonic(), self._num_kills()
            self._disturbed_run(MASTERS[number % 2])
            kills, seconds = self._num_kills() - before, round(time.monotonic() - started, 1)
            load = round(os.getloadavg()[1], 1)
            self._keep({"run": self.name, "kills": kills, "wrong": self.wrong, "seconds": seconds, "load": load})
            print(f"{self.name}: {kills} kills in {seconds:.0f} s, wrong: {self.wrong}; load {load}", flush=True)

    def _disturbed_run(self, master: str) -> None:
        log = self.work / f"{self.name}.log"
        job = start_job("train", master, self._settings(self.name), log)
        victims = Victims(job, self.work / "runs" / self.name)
        for _ in range(self.rng.randint(*MOMENTS_PER_RUN)):
            if not self._wait_for_moment(victims):
                break
            if "driver" in self._strike(victims, [self._choose_kind(master) for _ in range(self.rng.choice(AT_ONCE))]):
                job.kill()
                job.wait()
                job = start_job("train", master, self._settings(self.name), log)
                victims.follow(job)
        code = self._finish(job)
        if code:
            self._tell("exit code not 0", f"ended with {code}; see {log}")
        elif code == 0:
            self._compare()
        if left := victims.leftovers():
            self._tell("leftovers", f"left over: {left}")

    def _settings(self, name: str) -> list[str]:
        return [*SETTINGS, f"paths.work={self.work}", f"train.run_name={name}"]

    def _choose_kind(self, master: str) -> str:
        """At random, kinds that were rare up to now before others; drivers less often, as they start slowly."""
        kinds = [kind for kind in KINDS if kind != "executor" or "cluster" in master]
        done = Counter(line["kind"] for line in self._kills())
        return self.rng.choices(kinds, [2.0 ** -(done[kind] * (3 if kind == "driver" else 1)) for kind in kinds])[0]

    def _wait_for_moment(self, victims: Victims) -> bool:
        """Until there is something to disturb. False: the run has ended."""
        early, started = self.rng.random() < EARLY, time.monotonic()
        while time.monotonic() - started < STANDSTILL_SECONDS:
            if victims.has_ended():
                return False
            if victims.ranks() and (early or victims.has_progressed()):
                time.sleep(self.rng.uniform(0.0, 6.0 if early else 1.5))  # not to wait for anything: at random
                return not victims.has_ended()
            time.sleep(0.1)
        self._tell("hangs", "no step was made; the run is given up")
        victims.end()
        return False

    def _strike(self, victims: Victims, kinds: list[str]) -> list[str]:
        """Kills one process of each kind and waits until the ranks of this moment are gone; the kinds that it found."""
        ranks, killed = victims.ranks(), {}
        for kind in kinds if ranks else ():
            chosen = victims.choose(kind, self.rng)
            try:
                if chosen is not None:
                    chosen.send_signal(signal.SIGSTOP if kind.endswith("stopped") else signal.SIGKILL)
                    killed[chosen.pid] = (kind, time.monotonic())
            except psutil.NoSuchProcess:
                continue
            if kind == "driver":  # nothing is left to disturb
                break
            time.sleep(self.rng.uniform(0.0, 0.3))  # not to wait for anything: at random
        _, alive = psutil.wait_procs(ranks if killed else [], timeout=SECONDS)
        gone = time.monotonic()
        for kind, at in killed.values():
            line = {"kind": kind, "run": self.name, "at_once": len(killed), "seconds": round(gone - at, 2)}
            self._keep(line)
        if alive:
            pids = [process.pid for process in alive]
            self._tell("hangs", f"ranks {pids} still ran {SECONDS:.0f} s after {killed}")
        victims.forget_progress()
        return [kind for kind, _ in killed.values()]

    def _finish(self, job: psutil.Popen) -> int | None:
        try:
            return int(job.wait(STANDSTILL_SECONDS * 2))
        except psutil.TimeoutExpired:
            self._tell("hangs", "did not end")
            Victims(job, self.work).end()
            return None

    def _compare(self) -> None:
        for wrong, file in (("receipts wrong", "receipts.jsonl"), ("weights differ", "model/weights.safetensors")):
            mine, calm = (self.work / "runs" / run / file for run in (self.name, "calm"))
            if mine.read_bytes() != calm.read_bytes():
                self._tell(wrong, f"{mine} is not as {calm}")

    def _tell(self, wrong: str, detail: str) -> None:
        self.wrong.append(wrong)
        print(f"{self.name}: {wrong}: {detail}", flush=True)

    def _keep(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _kills(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "kind" in line]

    def _runs(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "kills" in line]

    def _num_kills(self) -> int:
        return len(self._kills())

    def count_wrong(self) -> Counter[str]:
        return Counter(wrong for line in self._runs() for wrong in line["wrong"])

    def table(self) -> str:
        lines = ["| killed | times | alone | then noticed after, median s | at most s |", "|---|---|---|---|---|"]
        for kind in KINDS:
            found = [line for line in self._kills() if line["kind"] == kind]
            alone = [line["seconds"] for line in found if line["at_once"] == 1]
            median, most = (statistics.median(alone), max(alone)) if alone else (0.0, 0.0)
            lines.append(f"| {kind} | {len(found)} | {len(alone)} | {median:.1f} | {most:.1f} |")
        slowest = max((line["seconds"] for line in self._kills()), default=0.0)
        wrong, runs = self.count_wrong(), self._runs()
        minutes = sum(line["seconds"] for line in runs) / 60
        load = statistics.median(line["load"] for line in runs) if runs else 0.0
        return "\n".join([
            *lines, "",
            f"{self._num_kills()} kills in {len(runs)} runs, {minutes:.0f} minutes at a load of {load:.1f} on "
            f"{os.cpu_count()} cores; slowest notice {slowest:.1f} s; "
            + ", ".join(f"{name}: {wrong[name]}" for name in WRONG),
        ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="./do soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="end after so many (default: 100)")
    parser.add_argument("--minutes", type=float, default=60.0, help="start no more runs after so many (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, kinds and victims (default: 0)")
    parser.add_argument("--work", type=Path, help="directory to begin or go on in (default: a new one below /tmp)")
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="farandole-soak-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(f"in {work}, which stays there if it was named or anything is wrong", flush=True)
    soak = Soak(work, options.seed, options.kills, options.minutes)
    soak.run()
    print(soak.table())
    if soak.count_wrong():
        sys.exit(1)
    if options.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
