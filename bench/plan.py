"""What planning takes on the driver: a manifest of 1e9 images in 1e6 row groups, planned as by train and by rebalance.

    ./do bench plan [--files 40000] [--row-groups 25] [--rows 1000] [--limit-mb 1000]

Nothing is read or written but the manifest itself. A peak above the limit ends it with exit code 5.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from manifests import file_entry, make_manifest, split_entry

from farandole.config.layout import Layout
from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.balance import plan_balance
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.core.plan.rebalance_plan import plan_rebalance
from farandole.core.plan.rewrite_plan import why_rewrite

Result = TypeVar("Result")
NUM_CLASSES, ROW_BYTES, GLOBAL_BATCH_SIZE = 10, 32 * 32 * 3, 4096


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./do bench plan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=40_000)
    parser.add_argument("--row-groups", type=int, default=25, help="of a file")
    parser.add_argument("--rows", type=int, default=1_000, help="of a row group")
    parser.add_argument("--limit-mb", type=int, default=1_000)
    options = parser.parse_args()
    num_row_groups = options.files * options.row_groups
    print(f"{num_row_groups * options.rows:,} images in {num_row_groups:,} row groups of {options.files:,} files:\n")
    print("| step | seconds | peak memory of the process so far, MB |\n|---|---|---|")
    manifest = step(
        "make and read the manifest", lambda: reread(synthetic(options.files, options.row_groups, options.rows))
    )
    plan = step("plan_epoch", lambda: plan_epoch(manifest, epoch=0, seed=0, global_batch_size=GLOBAL_BATCH_SIZE))
    own = slice_for(plan, 0, 64)
    step("one rank's first windows, of 64", lambda: [next(own.windows(stream)) for stream in own.streams])
    counts = manifest.splits["train"].class_counts
    balance = plan_balance(counts, strategy="oversample", max_repeats=10)
    rebalancing = step("plan_rebalance", lambda: plan_rebalance(manifest, balance, Path("clean"), seed=0, num_files=0))
    step("why_rewrite", lambda: why_rewrite(manifest, balance, rebalancing, Layout(rewrite="auto")))
    if peak_mb() > options.limit_mb:
        print(f"error[5]: planning took {peak_mb():.0f} MB, the limit is {options.limit_mb} MB", file=sys.stderr)
        sys.exit(5)


def step(name: str, work: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = work()
    print(f"| {name} | {time.perf_counter() - start:.2f} | {peak_mb():.0f} |", flush=True)
    return result


def reread(manifest: Manifest) -> Manifest:
    """As read_manifest gives it, without looking for the files."""
    text = manifest.to_json()
    print(f"manifest.json: {len(text) / 1e6:.0f} MB", file=sys.stderr)
    return Manifest.model_validate_json(text)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def synthetic(num_files: int, row_groups: int, rows: int) -> Manifest:
    """A manifest of preprocess whose rows are all in train; classes are equal but for one row."""
    files = [
        file_entry([rows] * row_groups, path=f"data/split=train/part-{number:05d}.parquet", row_bytes=ROW_BYTES)
        for number in range(num_files)
    ]
    total = num_files * row_groups * rows
    names = [f"class-{label}" for label in range(NUM_CLASSES)]
    even = total // NUM_CLASSES
    counts = dict.fromkeys(names, even) | {names[0]: even + 1, names[1]: total - even * (NUM_CLASSES - 1) - 1}
    return make_manifest({"train": split_entry(counts, files)}, image_shape=(32, 32, 3))


if __name__ == "__main__":
    main()
