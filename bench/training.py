"""All that is measured of training, as one table: the reader, ranks, start-up, memory and links.

    ./do bench training [--repetitions 3] [--plot FILE]

`./do bench` alone is the same. It takes under half an hour on two cores that do nothing else; each part can be had by
its own name, and its --help says how it measures. "met" says whether a row reaches its goal, its floor, or neither.
"""

from collections.abc import Sequence

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
        found += bench.measure(repetitions)
    return found


if __name__ == "__main__":
    table.main("training", __doc__, measure)
