"""Two ranks on two hosts, joined by a link of 10 or 1 Gbit/s: network namespaces of one machine, slowed down by tc.

    ./do bench links [--repetitions 3] [--plot FILE]

Each host is a namespace with one rank of simple_cnn at a local batch of 64. The share of a step that goes into
communication is what a step takes longer than in two independent ranks that run beside each other and have nothing to
say to each other; waiting for the slower rank is part of it. Needs root, ip and tc.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import cluster
import inputs
import table
from rank_runs import config_for, start, train_once, work_directory
from table import Row
from turns import median, take_turns

LOCAL_ROWS, STEPS, NUM_ROWS = 64, 300, 24_000
LINKS = {  # rate for tc, and settings of [train]
    "unlimited": ("", {}),
    "10 Gbit/s": ("10gbit", {}),
    "1 Gbit/s": ("1gbit", {}),
    "1 Gbit/s, gradients as float16": ("1gbit", {"gradient_compression": "float16"}),
}


def measure(repetitions: int) -> Sequence[Row]:
    if not cluster.available() or shutil.which("tc") is None:
        print("links: left out, as this needs root, ip and tc", file=sys.stderr)
        return []
    with work_directory() as work:
        data = work / "data"
        inputs.write_balanced(data, NUM_ROWS)

        def independent() -> dict[str, float]:
            return train_once(data, worlds=2, ranks=1, local_rows=LOCAL_ROWS, steps=STEPS)

        def linked(rate: str, settings: dict[str, str]) -> dict[str, float]:
            with work_directory() as own, hosts(rate) as (names, addresses):
                config = config_for(own, ranks=2, local_rows=LOCAL_ROWS, steps=STEPS, **settings)
                ranks = start(config, data, namespaces=names, addresses=addresses)
                ranks.finish()
                return {"images_per_second": ranks.images_per_second(), "cpu_seconds": ranks.cpu_seconds}

        runs = {name: partial(linked, *link) for name, link in LINKS.items()}
        figures = take_turns({"independent": independent, **runs}, repetitions)
    return [_row(name, figures[name], figures["independent"]) for name in LINKS]


def _row(name: str, ours: list[dict[str, float]], other: list[dict[str, float]]) -> Row:
    rate, free = median(ours, "images_per_second"), median(other, "images_per_second")
    step, alone = (1e3 * 2 * LOCAL_ROWS / images for images in (rate, free))
    return Row(
        f"two hosts, link {name}: against two independent ranks",
        f"{rate:,.0f} images/s, {step:.0f} ms a step, {100 * max(0.0, 1 - alone / step):.0f} % of it communication",
        f"{free:,.0f} images/s, {alone:.0f} ms a step",
        rate / free,
        cpu=f"{statistics.median(run['cpu_seconds'] for run in ours):.0f} / {median(other, 'cpu_seconds'):.0f}",
    )


@contextmanager
def hosts(rate: str) -> Iterator[tuple[list[str], list[str]]]:
    """Two namespaces joined by a pair of virtual interfaces, both slowed down to the rate; "" for as fast as they are.

    Yields their names and their addresses on eth0.
    """
    names = [f"far{os.getpid()}{letter}" for letter in "ab"]
    addresses = ["10.250.0.1", "10.250.0.2"]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "eth0", "netns", names[1])
        for name, address in zip(names, addresses, strict=True):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", name, "link", "set", device, "up")
            if rate:
                limit = ["rate", rate, "burst", "512kb", "latency", "50ms"]
                _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "tbf", *limit)
        yield names, addresses
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    table.main("links", __doc__, measure)
