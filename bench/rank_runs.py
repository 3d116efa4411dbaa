"""Real ranks of farandole.train.rank, started as a barrier stage would, without Spark; and how fast they were.

A run trains simple_cnn with the real loop on raw noise of 32x32x3. Rates are medians over windows of some steps,
without the first windows, in which graphs are traced and the other processes may still be starting.
"""

import ctypes
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farandole.config.load import Config, parse_config
from farandole.core.dataset.manifest import read_manifest
from farandole.core.json_lines import read_lines
from farandole.core.rank_spec import Assignment, Meeting, RankSpec, Rendezvous, Result
from farandole.spark.ranks.child import Child
from farandole.spark.ranks.placement import Seat, plan_places
from farandole.train.run.run_directory import RunDirectory

LIB = Path(__file__).resolve().parent.parent / "lib"
TIMEOUT_SECONDS = 300
WARM_UP_WINDOWS = 3
_CLONE_NEWNET = 0x40000000


@dataclass
class Ranks:
    """One world: its processes, and where its run is."""

    run: RunDirectory
    children: list[Child]
    results: list[dict[str, Any]] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    """Of each rank's process, resident."""
    cpu_seconds: float = 0.0
    """Of all ranks, from their start to their end."""

    def finish(self) -> None:
        """Waits for all results; no process is left, whatever happens."""
        try:
            for child in self.children:
                message = child.next_message(TIMEOUT_SECONDS)
                if not isinstance(message, Result):
                    raise RuntimeError(f"a rank said {message}: {child.log_tail()}")
                self.results.append(message.result)
            self.peak_bytes = [_status_bytes(child.pid, "VmHWM") for child in self.children]
            self.cpu_seconds = sum(_cpu_seconds(child.pid) for child in self.children)
        finally:
            for child in self.children:
                child.kill()

    def images_per_second(self) -> float:
        rates = [line["images_per_second"] for line in read_lines(self.run.history) if line["kind"] == "train"]
        return statistics.median(rates[WARM_UP_WINDOWS:])

    def wait_percent(self) -> float:
        """Of all training time, the first batch included, as metrics.json says."""
        return 100 * self.results[0]["metrics"]["train"]["data_wait_fraction"]


def config_for(work: Path, *, ranks: int, local_rows: int, steps: int, **train: Any) -> Config:
    return parse_config(
        {
            "paths": {"work": str(work)},
            "image": {"height": 32, "width": 32, "channels": 3},
            "model": {"name": "simple_cnn"},
            "train": {
                "num_ranks": ranks,
                "global_batch_size": ranks * local_rows,
                "epochs": 1000,
                "max_steps": steps,
                "log_every_steps": max(1, steps // 15),
                "checkpoint_every_steps": 10**9,
                "run_name": "bench",
                **train,
            },
        }
    )


def start(config: Config, data: Path, *, namespaces: Sequence[str] = (), addresses: Sequence[str] = ()) -> Ranks:
    """Starts all ranks of a run: on loopback, or each alone in a network namespace with an address on eth0."""
    manifest = read_manifest(data)
    run = RunDirectory(config, manifest)
    run.prepare({})
    seats = [Seat(name) for name in namespaces] or [Seat("localhost")] * config.train.num_ranks
    assignment = Assignment("train", config.model_dump(), str(data), manifest.fingerprint())
    places, interface = plan_places(seats), "eth0" if namespaces else "lo"
    environment = {"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(LIB)}
    children = []
    for rank in range(len(seats)):
        address = addresses[rank] if addresses else "127.0.0.1"
        with inside(namespaces[rank] if namespaces else ""):
            children.append(Child("farandole.train.rank", rank, run.logs / f"rank-{rank}.log", environment))
        children[rank].begin(RankSpec(assignment, rank, places, address, interface, stall_seconds=120))
    message = children[0].next_message(TIMEOUT_SECONDS)
    if not isinstance(message, Rendezvous):
        raise RuntimeError(f"the leader said {message}: {children[0].log_tail()}")
    for child in children:
        child.send(Meeting(addresses[0] if addresses else "127.0.0.1", message.rendezvous_port))
    return Ranks(run, children)


@contextmanager
def work_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="farandole-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """What this thread starts meanwhile is in that network namespace; "": where it is already."""
    if not namespace:
        yield
        return
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    wanted = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(wanted)
        yield
    finally:
        _enter(before)
        os.close(before)
        os.close(wanted)


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def resident_bytes(ranks: Ranks) -> list[int]:
    """What each rank occupies now."""
    return [_status_bytes(child.pid, "VmRSS") for child in ranks.children]


def _status_bytes(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def train_once(data: Path, *, worlds: int = 1, **settings: Any) -> dict[str, float]:
    """Trains in so many independent worlds at the same time, and adds up what they do."""
    with work_directory() as work:
        started, alive = time.monotonic(), []
        try:
            alive += [start(config_for(work / str(number), **settings), data) for number in range(worlds)]
        finally:
            for ranks in alive:
                ranks.finish()
        return {
            "images_per_second": sum(ranks.images_per_second() for ranks in alive),
            "wait_percent": statistics.mean(ranks.wait_percent() for ranks in alive),
            "cpu_seconds": sum(ranks.cpu_seconds for ranks in alive),
            "wall_seconds": time.monotonic() - started,
        }
