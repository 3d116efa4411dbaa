"""The data engine beside Spark, Polars, DuckDB and a bare decode loop, on synthetic pictures: a Markdown table.

    ./do bench data [--repetitions 5] [--rows 60000] [--skewed] [--photos 600]

Every run is a process of its own (bench/runs.py) that works on the same files, contenders take turns, and the table
holds medians. CPU seconds and peak memory are those of the job in the whole process tree, after imports and after the
start of Spark: a session does one run that is not counted, so that its JVM has compiled what it will need.
"""

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import inputs

RUNS = Path(__file__).with_name("runs.py")
REBALANCE = {  # contender -> what it does, for the table
    "farandole": "`rebalance`, exact counts and hashes",
    "spark": "`repartition(n).write.parquet`",
    "polars": "`read_parquet`, `sample(shuffle=True)`, n x `write_parquet`",
    "duckdb": "`CREATE TABLE ... ORDER BY random()`, n x `COPY`",
}
Figures = dict[str, list[dict[str, float]]]
"""Of every run, by contender: cpu_seconds, wall_seconds, peak_bytes."""

PREPROCESS = {"farandole-decode": "`core.image.decode`: checks, decode, resize", "pillow": "bare loop: decode, resize"}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./do bench data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000, help="raw pictures of 32x32x3 bytes")
    parser.add_argument("--skewed", action="store_true", help="classes by Zipf's law, one huge file and many tiny ones")
    parser.add_argument("--photos", type=int, default=600, help="JPEG files of 500x375 pixels; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="farandole-bench-") as name:
        work = Path(name)
        print(f"writing {options.rows} pictures and {options.photos} photos", file=sys.stderr)
        inputs.write_clean(work / "clean", options.rows, skewed=options.skewed)
        inputs.write_photos(work / "photos", options.photos)
        rebalanced = take_turns(REBALANCE, work, options.repetitions)
        decoded = take_turns(PREPROCESS, work, options.repetitions) if options.photos else {}
    print_tables(rebalanced, decoded, options)


def take_turns(contenders: Iterable[str], work: Path, repetitions: int) -> Figures:
    """Runs every contender once, then all again, and so on."""
    figures: Figures = {name: [] for name in contenders}
    for repetition in range(repetitions):
        for name in figures:
            done = subprocess.run([sys.executable, RUNS, name, work], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{done.stderr}\nerror[1]: the run of {name} ended with exit code {done.returncode}")
            figures[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(repetition, name, figures[name][-1], file=sys.stderr)
    return figures


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def print_tables(rebalanced: Figures, decoded: Figures, options: argparse.Namespace) -> None:
    megabytes = options.rows * inputs.ROW_BYTES / 1e6
    kind = "skewed " if options.skewed else ""
    print(f"\n{megabytes:.0f} MB in {options.rows} {kind}rows, shuffled into {inputs.NUM_FILES} files:\n")
    print("| rebalance | how | MB per core-second | CPU s | wall s | peak memory MB | farandole is |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in rebalanced.items():
        cpu, wall, peak = (median(runs, key) for key in ("cpu_seconds", "wall_seconds", "peak_bytes"))
        figures = f"{megabytes / cpu:.0f} | {cpu:.2f} | {wall:.2f} | {peak / 1e6:.0f}"
        print(
            f"| {name} | {REBALANCE[name]} | {figures} | {cpu / median(rebalanced['farandole'], 'cpu_seconds'):.2f}x |"
        )
    if decoded:
        print_decoded(decoded, options)
    packages = ("pyspark", "pyarrow", "polars", "duckdb", "pillow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    command = " ".join(["./do bench data", *sys.argv[1:]])
    print(f"\n`{command}`: medians of n = {options.repetitions}, taking turns, local[2];", end=" ")
    print(f"Python {platform.python_version()}, {versions}.")


def print_decoded(decoded: Figures, options: argparse.Namespace) -> None:
    print(f"\n{options.photos} JPEG photos of {inputs.PHOTO_SIZE[0]}x{inputs.PHOTO_SIZE[1]} to 224x224:\n")
    print("| decode | how | images per core-second | farandole is |")
    print("|---|---|---|---|")
    for name, runs in decoded.items():
        cpu = median(runs, "cpu_seconds")
        ratio = cpu / median(decoded["farandole-decode"], "cpu_seconds")
        print(f"| {name} | {PREPROCESS[name]} | {options.photos / cpu:.0f} | {ratio:.2f}x |")


if __name__ == "__main__":
    main()
