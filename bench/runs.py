"""One measured run in a process of its own: python bench/runs.py CONTENDER WORK prints its figures as JSON."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from inputs import NUM_FILES

Job = Callable[[], object]
SAMPLE_SECONDS = 0.05


def measure(job: Job) -> dict[str, float]:
    """CPU seconds, wall seconds and peak memory (PSS, so that shared pages count once) of a job, with all children."""
    stop = threading.Event()
    peaks: list[int] = []
    seconds: list[float] = []  # that looking at the memory took
    sampler = threading.Thread(target=_sample, args=(stop, peaks, seconds), daemon=True)
    sampler.start()
    cpu, wall = _tree_cpu_seconds(), time.perf_counter()
    job()
    wall = time.perf_counter() - wall
    stop.set()
    sampler.join()
    figures = {"cpu_seconds": _tree_cpu_seconds() - cpu, "wall_seconds": wall}
    return {**figures, "cpu_seconds": figures["cpu_seconds"] - seconds[0], "peak_bytes": max(peaks)}


def _tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _tree_cpu_seconds() -> float:
    """Of all processes that live, and of those that they have waited for."""
    total = 0.0
    for process in _tree():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _sample(stop: threading.Event, peaks: list[int], seconds: list[float]) -> None:
    while True:
        peaks.append(sum(_pss_bytes(process) for process in _tree()))
        if stop.wait(SAMPLE_SECONDS):
            seconds.append(time.thread_time())
            return


def _pss_bytes(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


# Contenders: given the work directory, they do what need not be measured and return the job.


def farandole(work: Path) -> Job:
    from farandole.config import parse_config
    from farandole.core.manifest import read_manifest
    from farandole.spark.rebalance import rebalance

    config = parse_config(
        {"paths": {"work": str(work)}, "layout": {"num_files": NUM_FILES - 2}}
    )  # and 1 for val, 1 for test
    spark = _session()
    clean = read_manifest(work / "clean")
    job = _after_one(lambda: rebalance(spark, config, clean, config_fingerprint="bench"))
    for path in (work / "clean").rglob("*.parquet"):
        path.touch()  # a worker process hashes a file again only if it has changed
    return job


def spark(work: Path) -> Job:
    rows = _session().read.parquet(f"{work}/clean/data/split=*/*.parquet")
    return _after_one(lambda: rows.repartition(NUM_FILES).write.mode("overwrite").parquet(f"{work}/spark"))


def polars(work: Path) -> Job:
    import polars as pl

    def job() -> None:
        rows = pl.read_parquet(f"{work}/clean/data/*/*.parquet", hive_partitioning=False).sample(
            fraction=1, shuffle=True
        )
        out = _fresh(work / "polars")
        step = -(-rows.height // NUM_FILES)
        for number in range(NUM_FILES):
            rows.slice(number * step, step).write_parquet(out / f"{number}.parquet")

    return job


def duckdb(work: Path) -> Job:
    import duckdb

    def job() -> None:
        out = _fresh(work / "duckdb")
        with duckdb.connect() as database:
            database.execute(
                f"CREATE TABLE shuffled AS SELECT * FROM read_parquet('{work}/clean/data/*/*.parquet', "
                "hive_partitioning = false) ORDER BY random()"
            )
            rows = "SELECT * FROM shuffled WHERE rowid"
            (total,) = database.execute("SELECT count(*) FROM shuffled").fetchone() or (0,)
            step = -(-total // NUM_FILES)
            for number in range(NUM_FILES):
                query = f"{rows} BETWEEN {number * step} AND {(number + 1) * step - 1}"
                database.execute(f"COPY ({query}) TO '{out}/{number}.parquet' (FORMAT parquet)")

    return job


def farandole_decode(work: Path) -> Job:
    from farandole.config import parse_config
    from farandole.core import image

    section = {"height": 224, "width": 224, "channels": 3}
    rules = parse_config({"paths": {"work": str(work)}, "image": section}).image
    photos = _photos(work)
    return lambda: [image.decode(photo, rules).sum() for photo in photos]


def pillow(work: Path) -> Job:
    import io

    import numpy as np
    from PIL import Image

    def decode(photo: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(photo)).convert("RGB")
        return np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR))

    photos = _photos(work)
    return lambda: [decode(photo).sum() for photo in photos]


def _photos(work: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((work / "photos").iterdir())]


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _session() -> Any:
    import os

    from farandole.spark.session import start_session

    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
    return start_session("farandole bench", Path(__file__).parents[1] / "conf" / "spark" / "local.conf")


def _after_one(job: Job) -> Job:
    job()
    return job


def main() -> None:
    contenders = {"farandole": farandole, "spark": spark, "polars": polars, "duckdb": duckdb}
    contenders |= {"farandole-decode": farandole_decode, "pillow": pillow}
    name, work = sys.argv[1:]
    print(json.dumps(measure(contenders[name](Path(work)))))


if __name__ == "__main__":
    main()
