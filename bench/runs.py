"""One measured run in a process of its own: python bench/runs.py CONTENDER WORK prints its figures as JSON."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from inputs import NUM_FILES, PHOTO_TARGETS, SIDE

Job = Callable[[], object]
SAMPLE_SECONDS, BATCH_SIZE = 0.05, 64


def measure(job: Job) -> dict[str, float]:
    """CPU seconds and wall seconds of a job, with all children; then, of another run, its peak memory.

    Memory is counted as PSS, so that shared pages count once. The kernel does so page by page, and whoever wants memory
    meanwhile waits: with a look every 50 ms a run of gigabytes takes half as long again.
    """
    cpu, wall = _tree_cpu_seconds(), time.perf_counter()
    job()
    figures = {"cpu_seconds": _tree_cpu_seconds() - cpu, "wall_seconds": time.perf_counter() - wall}
    stop = threading.Event()
    peaks: list[int] = []
    sampler = threading.Thread(target=_sample, args=(stop, peaks), daemon=True)
    sampler.start()
    job()
    stop.set()
    sampler.join()
    return {**figures, "peak_bytes": max(peaks)}


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


def _sample(stop: threading.Event, peaks: list[int]) -> None:
    while True:
        peaks.append(sum(_pss_bytes(process) for process in _tree()))
        if stop.wait(SAMPLE_SECONDS):
            return


def _pss_bytes(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


# Contenders: given the work directory, they do what need not be measured and return the job.


def farandole(work: Path) -> Job:
    from farandole.config.load import parse_config
    from farandole.core.dataset.manifest import read_manifest
    from farandole.core.dataset.versions import Origin, Version
    from farandole.spark.rebalance.rebalance import rebalance

    config = parse_config(
        {"paths": {"work": str(work)}, "layout": {"num_files": NUM_FILES - 2}}
    )  # and 1 for val, 1 for test
    spark = _session()
    clean, target = Version(work / "clean", read_manifest(work / "clean")), work / "balanced"

    def anew() -> None:
        shutil.rmtree(target, ignore_errors=True)
        rebalance(spark, config.balance, config.layout, clean, target, Origin("bench", "bench"))

    job = _after_one(anew)
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


def preprocess(work: Path) -> Job:
    from farandole.config.load import parse_config
    from farandole.core.dataset.versions import Origin
    from farandole.spark.preprocess.clean import preprocess
    from farandole.spark.source.records import list_source

    source = {"source": "folder", "path": str(work / "pictures")}
    tables = {"paths": {"work": str(work / "preprocessed")}, "data": source, "image": {"height": SIDE, "width": SIDE}}
    config, spark = parse_config(tables), _session()

    def job() -> None:
        shutil.rmtree(work / "preprocessed", ignore_errors=True)  # else it would take the pictures over
        listing = list_source(config.data, config.missing)
        preprocess(spark, config, listing, work / "preprocessed/clean", Origin("bench", "bench"))

    return _after_one(job)


def read_decode(work: Path) -> Job:
    import simplejpeg

    paths = sorted((work / "pictures").glob("*/*.jpg"))
    return lambda: [simplejpeg.decode_jpeg(path.read_bytes()) for path in paths]


def farandole_decode(work: Path, side: int) -> Job:
    import numpy as np

    from farandole.config.load import parse_config
    from farandole.core.record import image

    rules = parse_config({"image": {"height": side, "width": side, "channels": 3}}).image
    return _in_batches(work, lambda photo: image.decode(photo, rules), np.stack)


def pillow(work: Path) -> Job:
    import io

    import numpy as np
    from PIL import Image

    def decode(photo: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(photo)).convert("RGB")
        return np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR))

    return _in_batches(work, decode, np.stack)


def libjpeg_turbo(work: Path) -> Job:
    import simplejpeg

    return _in_batches(work, simplejpeg.decode_jpeg, lambda batch: None)


def _in_batches(work: Path, decode: Callable[[bytes], Any], stack: Callable[[list[Any]], object]) -> Job:
    photos = [path.read_bytes() for path in sorted((work / "photos").iterdir())]

    def job() -> None:
        for start in range(0, len(photos), BATCH_SIZE):
            stack([decode(photo) for photo in photos[start : start + BATCH_SIZE]])

    return job


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
    contenders |= {"preprocess": preprocess, "read-decode": read_decode}
    contenders |= {"pillow-224": pillow, "libjpeg-turbo": libjpeg_turbo}
    contenders |= {f"farandole-{side}": partial(farandole_decode, side=side) for side in PHOTO_TARGETS}
    name, work = sys.argv[1:]
    print(json.dumps(measure(contenders[name](Path(work)))))


if __name__ == "__main__":
    main()
