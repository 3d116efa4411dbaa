"""From spark-submit to the first optimizer step, beside spark-submit of an empty job, and taken apart.

    ./do bench startup [--repetitions 3] [--plot FILE]

Two ranks on local[2] train the built-in digits, whose balanced files are there already, in a run of its own each time.
The empty job starts a session and stops it. The parts are medians over the runs, of the driver and of the leader.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import table
from rank_runs import work_directory
from table import Row
from turns import median, take_turns

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent


def measure(repetitions: int) -> Sequence[Row]:
    with work_directory() as work:
        submit(work, ROOT / "jobs/rebalance.py", "--set", f"paths.work={work}")
        parts: list[dict[str, float]] = []
        runs = {"first step": lambda: first_step(work, parts), "empty": lambda: empty(work)}
        figures = take_turns(runs, repetitions)
    print_parts(parts)
    ours, other = (median(figures[name], "wall_seconds") for name in ("first step", "empty"))
    cpu = " / ".join(f"{median(figures[name], 'cpu_seconds'):.1f}" for name in ("first step", "empty"))
    title = "from `spark-submit` to the first optimizer step, more than an empty job"
    return [
        Row(title, f"{ours:.1f} s", f"{other:.1f} s", ours - other, "s", 12, 6, cpu, smaller_is_better=True),
    ]


def first_step(work: Path, parts: list[dict[str, float]]) -> dict[str, float]:
    """Seconds from the command to the end of the first step; the run goes on for no more than that step."""
    stamps, number = work / f"stamps-{len(parts)}.json", len(parts)
    settings = [f"paths.work={work}", "train.num_ranks=2", "train.max_steps=1", f"train.run_name=run-{number}"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    config = ["--config", str(ROOT / "conf/digits.toml")]
    started = time.time()
    cpu = submit(work, BENCH / "startup_job.py", *config, *arguments, stamps=stamps)
    found = {**json.loads(stamps.with_name(f"{stamps.name}.driver").read_text()), **json.loads(stamps.read_text())}
    found["first step done"] = found.pop("first step done")  # last
    parts.append({name: stamp - started for name, stamp in found.items()})
    return {"wall_seconds": parts[-1]["first step done"], "cpu_seconds": cpu}


def empty(work: Path) -> dict[str, float]:
    started = time.time()
    cpu = submit(work, BENCH / "empty_job.py")
    return {"wall_seconds": time.time() - started, "cpu_seconds": cpu}


def submit(work: Path, program: Path, *arguments: str, stamps: Path | None = None) -> float:
    """Runs spark-submit to its end; returns the CPU seconds of the JVM, the driver and what both have waited for."""
    environment = {**os.environ, "PYTHONPATH": str(BENCH), "STAMPS": str(stamps or work / "no-stamps.json")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["spark-submit", "--master", "local[2]", str(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr[-3000:]}\nerror[1]: {program.name} ended with exit code {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_parts(parts: list[dict[str, float]]) -> None:
    """A table of when each part was over, and how long it took."""
    ends = {name: statistics.median(run[name] for run in parts) for name in parts[0]}
    print("\n| from `spark-submit` to | s | of these |\n|---|---|---|")
    last = 0.0
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        print(f"| {name} | {end:.1f} | {end - last:.1f} |")
        last = end


if __name__ == "__main__":
    table.main("startup", __doc__, measure)
