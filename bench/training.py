"""All that is measured of training, as one table: the reader, ranks, start-up, memory and links.

    ./do bench training [--repetitions 3] [--plot FILE]

`./do bench` alone is the same. It should take under half an hour on two idle cores; each part can be had by
its own name, and its --help says how it measures. "met" says whether a row reaches its goal, its floor, or neither.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import links
import memory
import ranks
import reader
import startup
import table
from table import Row


def measure(repetitions: int) -> Sequence[Row]:
    found: list[Row] = []
    for bench in (reader, ranks, startup, memory, links):
        part = bench.measure(repetitions)
        print(f"\n{table.markdown(part)}\n", file=sys.stderr)  # in case a later part fails
        found += part
    return found


if __name__ == "__main__":
    table.main("training", __doc__, measure, Path("bench.svg"))
