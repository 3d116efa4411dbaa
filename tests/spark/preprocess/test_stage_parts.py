"""The scale of numbers is one for all pictures: decided by all of them, wherever they stand, and said."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.load import parse_config
from farandole.spark.preprocess.reuse import OldPictures
from farandole.spark.preprocess.stage_parts import stage_parts
from farandole.spark.preprocess.staged_images import StagedImages
from farandole.spark.source import records
from farandole.spark.source.table import files as table_files

SIDE = 4
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (12, SIDE, SIDE))


def staged(spark: SparkSession, tmp_path: Path, **data: Any) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    """The pictures by id, why others are rejected, and the scale."""
    config = parse_config(
        {
            "data": {"path": str(tmp_path / "raw"), **data},
            "image": {"height": SIDE, "width": SIDE, "channels": 1},
        }
    )
    listing = records.list_source(config.data, config.missing)
    staging = tmp_path / "staging"
    staging.mkdir()
    source = records.prepare(spark, config.data, config.missing, config.image, listing, staging)
    _, scale = stage_parts(spark, config.missing, config.split, config.image, source, OldPictures([]), staging)
    parts = [records.Part(staging, number, source) for number in range(source.num_parts)]
    rows, rejected = (pa.concat_tables([part.read(folder) for part in parts]) for folder in ("parts", "rejected"))
    images = StagedImages(staging).take(*(rows[name].to_numpy() for name in ("images", "start", "size")))
    found = {
        name: np.frombuffer(image, np.uint8).reshape(SIDE, SIDE)
        for name, image in zip(rows["id"].to_pylist(), images.to_pylist(), strict=True)
    }
    reasons = zip(rejected["id"].to_pylist(), rejected["detail"].to_pylist(), strict=True)
    return found, dict(reasons), scale


def put_lists(root: Path, pictures: np.ndarray, kind: pa.DataType) -> None:
    root.mkdir()
    lists = pa.array([picture.ravel().tolist() for picture in pictures], pa.list_(kind))
    pq.write_table(pa.table({"image": lists, "label": ["a", "b"] * (len(pictures) // 2)}), root / "x.parquet")


def test_lists_of_floats_have_one_scale(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table_files, "ROWS_PER_PART", 3)
    pixels = GRAY.astype(np.float64)
    pixels[:9] = np.rint(pixels[:9] / 256)  # dark ones: 0 and 1 of 255
    put_lists(tmp_path / "raw", pixels, pa.float32())
    found, rejected, scale = staged(spark, tmp_path, source="table", pixel_shape=[SIDE, SIDE])
    assert (scale, rejected) == ("floats to 255", {})
    for number in range(12):
        assert np.array_equal(found[f"x.parquet#{number}"], pixels[number])
    assert (
        "preprocess: 12 pictures are floats, taken as 0 to 255 by what all of them hold; "
        "data.pixel_scale sets another scale" in capsys.readouterr().err
    )


def test_a_few_values_beyond_change_no_other_picture(spark: SparkSession, tmp_path: Path) -> None:
    pixels = GRAY / 255
    pixels[::3, 0, 0] = 1.02
    put_lists(tmp_path / "raw", pixels, pa.float64())
    found, rejected, scale = staged(spark, tmp_path, source="table", pixel_shape=[SIDE, SIDE])
    assert (scale, rejected) == ("floats to 1", {})
    assert all(
        np.array_equal(found[f"x.parquet#{number}"].ravel()[1:], GRAY[number].ravel()[1:]) for number in range(12)
    )


def test_16_bit_files_have_one_scale(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RECORDS_PER_PART", 5)
    for number, picture in enumerate(GRAY):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        top = (255, 1023, 4095)[number % 3]
        Pillow.fromarray((picture * (top // 255)).astype(np.uint16 if number else np.uint8)).save(path)
    found, rejected, scale = staged(spark, tmp_path, source="folder")
    assert scale == "integers to 4095"
    assert np.array_equal(found["a/0.png"], GRAY[0])  # of 8 bits
    for number in (2, 5, 8, 11):
        assert np.abs(found[f"{'ab'[number % 2]}/{number}.png"].astype(int) - GRAY[number]).max() <= 1
    assert [*rejected] == ["a/6.png", "b/3.png", "b/9.png"]
    assert rejected["a/6.png"].endswith("nearly black where 4095 is white; data.pixel_scale says what is")


@pytest.mark.parametrize(("kind", "top"), [(pa.int32(), 1023), (pa.uint16(), 1023), (pa.float32(), 7), (pa.uint8(), 1)])
def test_a_given_scale_is_not_decided(spark: SparkSession, tmp_path: Path, kind: pa.DataType, top: int) -> None:
    pixels = RNG.integers(0, top + 1, (4, SIDE, SIDE))
    put_lists(tmp_path / "raw", pixels, kind)
    found, rejected, scale = staged(spark, tmp_path, source="table", pixel_shape=[SIDE, SIDE], pixel_scale=top)
    assert (scale, rejected) == ("", {})
    assert all(
        np.array_equal(found[f"x.parquet#{number}"], np.rint(pixels[number] * (255 / top))) for number in range(4)
    )
