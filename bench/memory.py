"""Peak memory of a rank when the data set is ten times larger, and its growth over 20 epochs.

    ./do bench memory [--repetitions 3] [--plot FILE]

Two ranks train simple_cnn with the real loop; memory is what the larger of the two processes had resident at most.
The growth is the slope of a line through what both had resident at the end of each of the last 15 of 20 epochs.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import inputs
import numpy as np
import rank_runs
import table
from table import Row
from turns import median, take_turns

from farandole.core.json_lines import read_lines

SMALL_ROWS = 20_480
EPOCHS, EPOCH_ROWS = 20, 2_048
_POLL_SECONDS = 0.05


def measure(repetitions: int) -> Sequence[Row]:
    with rank_runs.work_directory() as work:
        for name, num_rows in (("small", SMALL_ROWS), ("large", 10 * SMALL_ROWS), ("tiny", EPOCH_ROWS)):
            inputs.write_balanced(work / name, num_rows)
        runs = {name: lambda name=name: peak(work / name) for name in ("small", "large")}
        figures = take_turns(runs, repetitions)  # type: ignore[arg-type]
        grown = take_turns({"growth": lambda: growth(work / "tiny")}, 1)["growth"][0]
    small, large = (median(figures[name], "peak_bytes") for name in ("small", "large"))
    more = 100 * (large / small - 1)
    cpu = " / ".join(f"{median(figures[name], 'cpu_seconds'):.0f}" for name in ("large", "small"))
    return [
        Row("peak memory of a rank with ten times the data", f"{large / 1e6:,.0f} MB", f"{small / 1e6:,.0f} MB", more,
            "%", 10, 5, cpu, smaller_is_better=True),
        Row(f"memory that a rank gains per epoch, over {EPOCHS} (n = 1)", f"{grown['slope_bytes'] / 1e6:.2f} MB",
            f"{grown['resident_bytes'] / 1e6:,.0f} MB in all", 100 * grown["slope_bytes"] / grown["resident_bytes"],
            "%", smaller_is_better=True),
    ]  # fmt: skip


def peak(data: Path) -> dict[str, float]:
    with rank_runs.work_directory() as work:
        # One epoch of the small set: then all of its windows, and those of the large one, have been full.
        steps = SMALL_ROWS // 512
        ranks = rank_runs.start(rank_runs.config_for(work, ranks=2, local_rows=256, steps=steps), data)
        ranks.finish()
        return {"peak_bytes": max(ranks.peak_bytes), "cpu_seconds": ranks.cpu_seconds}


def growth(data: Path) -> dict[str, float]:
    with rank_runs.work_directory() as work:
        steps = EPOCHS * EPOCH_ROWS // 512
        config = rank_runs.config_for(work, ranks=2, local_rows=256, steps=steps, log_every_steps=10**6)
        ranks = rank_runs.start(config, data)
        found: list[float] = []
        deadline = time.monotonic() + rank_runs.TIMEOUT_SECONDS
        try:
            while len(found) < EPOCHS and time.monotonic() < deadline:
                history = ranks.run.receipts
                if history.exists() and len(read_lines(history)) > len(found):
                    found.append(float(np.mean(rank_runs.resident_bytes(ranks))))
                time.sleep(_POLL_SECONDS)
        finally:
            ranks.finish()
    late = found[-15:]
    return {"slope_bytes": float(np.polyfit(range(len(late)), late, 1)[0]), "resident_bytes": late[-1]}


if __name__ == "__main__":
    table.main("memory", __doc__, measure)
