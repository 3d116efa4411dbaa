"""An incremental run gives the bytes of a full one, and decodes only what is new."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.load import Config, parse_config
from farandole.spark.preprocess import clean, decode_parts, reuse
from farandole.spark.preprocess.staged_images import FIELDS, StagedImages
from farandole.spark.source import records
from farandole.spark.source.table import files as table_files
from stage_runs import run_preprocess

SIDE = 4


def config_for(tmp_path: Path, work: str, **data: Any) -> Config:
    return parse_config(
        {
            "paths": {"work": str(tmp_path / work)},
            "data": {"path": str(tmp_path / "raw"), **data},
            "image": {"height": SIDE, "width": SIDE},
        }
    )


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def run(spark: SparkSession, config: Config, capfd: pytest.CaptureFixture[str], settings: str = "c") -> str:
    """Runs preprocess, and returns what it says of pictures that it took over."""
    capfd.readouterr()
    run_preprocess(spark, config, decoding=settings * 64)
    return "".join(line for line in capfd.readouterr().err.splitlines() if "reused" in line)


def hashes_of(config: Config) -> dict[str, str]:
    root = config.work / "clean"
    return {str(path.relative_to(root)): hash_of(path) for path in root.rglob("*") if path.is_file()}


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stage(
    spark: SparkSession,
    config: Config,
    staging: Path,
    settings: str = "c",
    version: str = clean.created_by(),
    then: Callable[[], None] = lambda: None,
) -> tuple[int, dict[int, Any]]:
    """How many pictures a run would take over, and its staged parts, which all that it writes follows from. `then` is
    what happens between its look at the old data set and the tasks."""
    staging.mkdir()
    source = records.prepare(spark, config.data, config.missing, config.image, listing_of(config), staging)
    old = reuse.plan_reuse(spark, config.work, config.image, staging, settings=settings * 64, decoders=version)
    then()
    parts = [records.Part(staging, number, source) for number in range(source.num_parts)]
    num_reused = sum(
        decode_parts.stage_part(part, config.missing, config.split, config.image, old).num_reused for part in parts
    )
    places = [field.name for field in FIELDS]
    staged = {}
    for part in parts:
        rows, rejected = (part.read(folder) for folder in ("parts", "rejected"))
        images = StagedImages(staging).take(*(rows[name].to_numpy() for name in places)).to_pylist()
        staged[part.number] = rows.drop_columns(places).to_pylist(), images, rejected.to_pylist()
    return num_reused, staged


def flip_pixels(paths: list[Path]) -> None:
    """A bit of every picture that a file of clean/ holds."""
    for path in paths:
        images = pq.ParquetFile(path).read(columns=["image"])["image"].to_pylist()
        stored = path.read_bytes()
        for image in images:
            stored = stored.replace(image, bytes([image[0] ^ 1]) + image[1:])
        path.write_bytes(stored)


def bmp(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path, "BMP")  # all of one size in bytes


def test_a_folder_that_grows_shrinks_and_changes(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORDS_PER_PART", 7)
    monkeypatch.setattr(decode_parts, "MAX_ROWS_PER_ROW_GROUP", 3)  # seen by `stage`, which runs here
    config, raw = config_for(tmp_path, "work", source="folder"), tmp_path / "raw"
    for index in range(30):
        bmp(raw / f"c{index % 2}" / f"{index:02d}", index)
    bmp(raw / "c0/twin of 02", 2)  # dropped, until 02 goes
    bmp(raw / "c1/doubtful", 50)
    bmp(raw / "c0/doubtful", 50)
    (raw / "c0/text").write_text("I am no picture")
    assert run(spark, config, capfd) == ""
    for index in range(60, 66):
        bmp(raw / f"b{index % 2}" / f"{index}", index)  # before all others: every part begins elsewhere
    (raw / "c0/02").unlink()
    (raw / "c1/doubtful").unlink()
    status = (raw / "c1/05").stat()
    bmp(raw / "c1/05", 77)
    os.utime(raw / "c1/05", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert run(spark, config, capfd) == "preprocess: reused 28 of 38 pictures"
    ids = pq.read_table(config.work / "clean/data", columns=["id"])["id"].to_pylist()
    assert {"c0/twin of 02", "c0/doubtful", "c1/05", "b0/60"} <= set(ids)
    whole = config_for(tmp_path, "whole", source="folder")
    assert run(spark, whole, capfd) == ""
    assert hashes_of(config) == hashes_of(whole)
    damaged = sorted((config.work / "clean/data").rglob("part-*.parquet"))[0]
    num_rows = pq.ParquetFile(damaged).metadata.num_rows
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    num_reused, staged = stage(spark, config, tmp_path / "damaged")
    assert num_reused == 37 - num_rows
    assert stage(spark, config, tmp_path / "other", settings="d") == (0, staged)
    whole_files = [path for path in (config.work / "clean/data").rglob("part-*.parquet") if path != damaged]
    assert stage(spark, config, tmp_path / "changing", then=lambda: flip_pixels(whole_files)) == (0, staged)
    assert stage(spark, config, tmp_path / "older", version="farandole 0") == (0, staged)
    for path in (config.work / "clean/originals").iterdir():  # what is not there cannot tell of the splits
        path.unlink()
    assert stage(spark, config, tmp_path / "forgotten") == (0, staged)
    monkeypatch.setattr(reuse, "MAX_ROWS", 37)
    capfd.readouterr()
    assert stage(spark, config, tmp_path / "huge") == (0, staged)
    assert "decoding all pictures anew, because there are 38 records, above 37" in capfd.readouterr().err


def test_a_table_that_gets_a_partition_and_another_file(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROWS_PER_PART", 12)
    monkeypatch.setattr(decode_parts, "MAX_ROWS_PER_ROW_GROUP", 3)
    data = {"source": "table", "id_column": "id", "keep_columns": ["weight"]}
    config = config_for(tmp_path, "work", **data)

    def put(day: int, ids: list[int], seed: int = 0) -> None:
        pixels = [np.random.default_rng(number + seed).integers(0, 256, SIDE * SIDE, np.uint8) for number in ids]
        pictures = [Pillow.fromarray(array.reshape(SIDE, SIDE)) for array in pixels]
        columns = {
            "id": ids,
            "label": [number % 2 for number in ids],
            "image": [b"P5 4 4 255\n" + picture.tobytes() for picture in pictures],
            "weight": [float(number) for number in ids],
        }
        path = tmp_path / f"raw/day={day}/part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=5, compression="none")
        os.utime(path, ns=(0, 0))  # only the footer tells

    for day in (2, 3, 4):
        put(day, list(range(day * 100, day * 100 + 6)))
    assert run(spark, config, capfd) == ""
    put(1, list(range(100, 113)))
    size = (tmp_path / "raw/day=3/part.parquet").stat().st_size
    put(3, list(range(300, 306)), seed=1000)  # the same ids, other pictures, beside files that stay
    assert (tmp_path / "raw/day=3/part.parquet").stat().st_size == size
    num_reused, staged = stage(spark, config, tmp_path / "new")
    assert num_reused == 12
    assert stage(spark, config, tmp_path / "full", settings="d") == (0, staged)
