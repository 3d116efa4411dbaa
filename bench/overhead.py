"""What heartbeats, receipts and checkpoints cost, out of the training that they guard: a Markdown table.

    ./do bench overhead --data DIR [--epochs 1] [--work DIR] [--set section.key=value ...]

DIR holds CIFAR-10 as SPLIT/CLASS/FILE. A run of its own with them and one without would differ by less than two runs of
the same kind do, so their time is taken directly, in a training with the settings of conf/cifar10.toml: on the training
thread, for which the steps wait, and as CPU seconds of all threads (accounted_rank.py). The tasks that watch the ranks,
the driver that watches the tasks, and Spark's JVM are counted with all that they do.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

BENCH = Path(__file__).resolve().parent
PARTS = ("heartbeats", "receipts", "checkpoints")
WATCHERS = ("tasks", "driver", "Spark's JVM")
MODULE = "accounted_rank"


class Watchers:
    """CPU seconds of those who watch while the ranks train: the tasks, the driver, and Spark's JVM with all it does."""

    def __init__(self, history: Path) -> None:
        self._history, self._stop = history, threading.Event()
        self._first: dict[tuple[str, psutil.Process], float] = {}
        self._last: dict[tuple[str, psutil.Process], float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> dict[str, float]:
        found = dict.fromkeys(WATCHERS, 0.0)
        for (kind, process), first in self._first.items():
            found[kind] += self._last[kind, process] - first
        return found

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            if not self._history.exists():  # its first line comes some steps after the start
                continue
            me = psutil.Process()
            ranks = [p for p in me.children(recursive=True) if MODULE in " ".join(p.cmdline())]
            tasks = [(WATCHERS[0], parent) for rank in ranks if (parent := rank.parent())]
            for key in [*tasks, (WATCHERS[1], me), *((WATCHERS[2], child) for child in me.children())] if ranks else []:
                used = key[1].cpu_times()
                self._last[key] = used.user + used.system
                self._first.setdefault(key, self._last[key])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./do bench overhead", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where balanced/ may be already (default: a new directory)")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", dest="settings")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="farandole-bench-"))
    try:
        print_table(measure(work, options))
    finally:
        if options.work is None:
            shutil.rmtree(work)


def measure(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The results of the ranks, and the CPU seconds of those that watch them."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")])  # for Spark's workers
    from farandole.config.load import load_config
    from farandole.core.rank_spec import Assignment
    from farandole.pipeline.data_stages import ensure_balanced
    from farandole.spark.ranks.launch import launch_ranks
    from farandole.spark.session import start_session
    from farandole.train.run.run_directory import RunDirectory

    own = [f"paths.work={work}", f"data.path={options.data}", f"train.epochs={options.epochs}", "train.run_name=bench"]
    config = load_config(BENCH.parent / "conf" / "cifar10.toml", [*own, *options.settings])
    spark = start_session("overhead", BENCH.parent / "conf" / "spark" / "local.conf")
    try:
        with ensure_balanced(lambda: spark, config) as data:
            manifest = data.manifest
        run = RunDirectory(config, manifest)
        shutil.rmtree(run.path, ignore_errors=True)
        run.prepare(data.names)
        assignment = Assignment("train", config.model_dump(), str(data.directory), manifest.fingerprint())
        with Watchers(run.history) as watchers:
            ranks = launch_ranks(
                spark,
                module=MODULE,
                assignment=assignment,
                log_directory=run.logs,
                num_ranks=config.train.num_ranks,
                hang_seconds=config.train.hang_seconds,
            )
    finally:
        spark.stop()
    return {"ranks": ranks, "watchers": watchers.seconds(), "config": json.loads(config.train.model_dump_json())}


def print_table(found: dict[str, Any]) -> None:
    ranks, train = found["ranks"], found["config"]
    wall = sum(rank["wall"]["training"] for rank in ranks)
    cpu = sum(rank["cpu"]["training"] for rank in ranks)
    steps = ranks[0]["metrics"]["train"]["steps"]
    print("| part | of the training thread's time | ms per step | of the CPU time |\n|---|---|---|---|")
    rows = {part: [sum(rank[kind].get(part, 0.0) for rank in ranks) for kind in ("wall", "cpu")] for part in PARTS}
    rows.update({kind: [0.0, seconds] for kind, seconds in found["watchers"].items()})
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for part, (seconds, cpu_seconds) in rows.items():
        each = 1000 * seconds / steps / len(ranks)
        print(f"| {part} | {100 * seconds / wall:.2f} % | {each:.3f} | {100 * cpu_seconds / cpu:.2f} % |")
    print(
        f"\n{steps} steps of {train['global_batch_size']} rows on {len(ranks)} ranks, "
        f"{1000 * wall / steps / len(ranks):.1f} ms each, a checkpoint every {train['checkpoint_every_steps']} steps; "
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores at a load of {os.getloadavg()[1]:.1f}"
    )


if __name__ == "__main__":
    main()
