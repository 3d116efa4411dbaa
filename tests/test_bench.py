"""Programs of bench/ that are quick enough to run here, on tiny inputs: they name what lib has."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"


def test_plan_takes_all_its_steps() -> None:
    # No limit: a process counts what the one that started it held, which is pytest here.
    arguments = ["--files", "4", "--row-groups", "3", "--rows", "100", "--limit-mb", "1000000"]
    done = subprocess.run([sys.executable, BENCH / "plan.py", *arguments], capture_output=True, text=True, check=True)
    assert "1,200 images in 12 row groups of 4 files" in done.stdout
    steps = [line.split("|")[1].strip() for line in done.stdout.splitlines()[4:]]
    assert steps == [
        "make and read the manifest",
        "plan_epoch",
        "one rank's first windows, of 64",
        "plan_rebalance",
        "why_rewrite",
    ]
