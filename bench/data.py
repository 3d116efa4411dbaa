"""The data engine beside Spark, Polars, DuckDB and a bare decode loop, on synthetic pictures: a Markdown table.

    ./do bench data [--repetitions 5] [--rows 60000] [--skewed] [--pictures 20000] [--photos 300 | --photos-path DIR]

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

PREPROCESS = {
    "preprocess": "the whole job: lists, decodes, compares, splits, writes",
    "read-decode": "bare libjpeg-turbo loop: reads a file, decodes it",
}
DECODE = {
    **{f"farandole-{side}": f"`core.image.decode` to {side}x{side}, batched" for side in inputs.PHOTO_TARGETS},
    "pillow-224": "bare Pillow loop: decode, resize to 224x224, batched",
    "libjpeg-turbo": "bare libjpeg-turbo loop: decode in full size",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./do bench data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000, help="raw pictures of 32x32x3 bytes")
    parser.add_argument("--skewed", action="store_true", help="classes by Zipf's law, one huge file and many tiny ones")
    parser.add_argument("--pictures", type=int, default=20_000, help="JPEG files of 32x32 pixels; 0: none")
    parser.add_argument("--photos", type=int, default=300, help="JPEG files of 500x375 pixels; 0: none")
    parser.add_argument("--photos-path", type=Path, help="a folder of JPEG photos instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="farandole-bench-") as name:
        work = Path(name)
        print(f"writing {options.rows} rows and {options.pictures} pictures", file=sys.stderr)
        inputs.write_clean(work / "clean", options.rows, skewed=options.skewed)
        inputs.write_pictures(work / "pictures", options.pictures)
        if options.photos_path:
            (work / "photos").symlink_to(options.photos_path.resolve())
            options.photos = len(list(options.photos_path.iterdir()))
        else:
            inputs.write_photos(work / "photos", options.photos)
        rebalanced = take_turns(REBALANCE, work, options.repetitions)
        preprocessed = take_turns(PREPROCESS if options.pictures else (), work, options.repetitions)
        decoded = take_turns(DECODE if options.photos else (), work, options.repetitions)
    print_rebalanced(rebalanced, options)
    if preprocessed:
        print(f"\n{options.pictures} JPEG files of 32x32 pixels:\n")
        print_images("preprocess", PREPROCESS, preprocessed, options.pictures)
    if decoded:
        kind = options.photos_path or "of 500x375 pixels"
        print(f"\n{options.photos} JPEG photos, {kind}:\n")
        print_images("photos", DECODE, decoded, options.photos)
    print_versions(options)


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


def print_rebalanced(rebalanced: Figures, options: argparse.Namespace) -> None:
    megabytes = options.rows * inputs.ROW_BYTES / 1e6
    kind = "skewed " if options.skewed else ""
    print(f"\n{megabytes:.0f} MB in {options.rows} {kind}rows, shuffled into {inputs.NUM_FILES} files:\n")
    print("| rebalance | how | MB per core-second | CPU s | wall s | peak memory MB | farandole is |")
    print("|---|---|---|---|---|---|---|")
    own = median(rebalanced["farandole"], "cpu_seconds")
    for name, runs in rebalanced.items():
        cpu, wall, peak = (median(runs, key) for key in ("cpu_seconds", "wall_seconds", "peak_bytes"))
        figures = f"{megabytes / cpu:.0f} | {cpu:.2f} | {wall:.2f} | {peak / 1e6:.0f}"
        print(f"| {name} | {REBALANCE[name]} | {figures} | {cpu / own:.2f}x |")


def print_images(title: str, how: dict[str, str], figures: Figures, num_images: int) -> None:
    """The last contender is the bare loop that all are compared with."""
    *_, bare = figures.values()
    print(f"| {title} | how | images per core-second | of the bare loop |")
    print("|---|---|---|---|")
    for name, runs in figures.items():
        cpu = median(runs, "cpu_seconds")
        print(f"| {name} | {how[name]} | {num_images / cpu:.0f} | {median(bare, 'cpu_seconds') / cpu:.2f}x |")


def print_versions(options: argparse.Namespace) -> None:
    packages = ("pyspark", "pyarrow", "polars", "duckdb", "pillow", "simplejpeg")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    command = " ".join(["./do bench data", *sys.argv[1:]])
    print(f"\n`{command}`: medians of n = {options.repetitions}, taking turns, local[2];", end=" ")
    print(f"Python {platform.python_version()}, {versions}.")


if __name__ == "__main__":
    main()
