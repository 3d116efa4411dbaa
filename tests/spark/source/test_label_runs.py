"""preprocess with a label table, from the files to clean/."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.dataset.manifest import Manifest
from farandole.pipeline import data_stages
from farandole.spark.source import records
from farandole.spark.source.table.values import warn_of_words_for_none
from labelled_folder import SIDE, config_for, put, write
from stage_runs import run_preprocess


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def run(spark: SparkSession, config: Config) -> Manifest:
    return run_preprocess(spark, config)


def rows_of(config: Config, folder: str) -> dict[str, dict[str, Any]]:
    paths = (config.work / "clean").glob(f"{folder}/part-*.parquet")
    return {row["id"]: row for path in paths for row in pq.ParquetFile(path).read().to_pylist()}


RULES = {
    "weight": {"policy": "interpolate", "order_by": "day", "group_by": ["site"]},
    "name": {"policy": "drop"},
}
TABLE = [
    # file, label, day, site, weight, name; the pictures are 0, 1, 2, ... in this order
    ("0", 10, 1, "a", 1.0, "x"),
    ("1", 9, 2, "a", None, "x"),
    ("2", 10, 5, "a", 5.0, "x"),
    ("3", 9, 5, "b", 7.0, None),
    ("4", 9, 6, "b", None, "y"),
    ("0", 10, 9, "a", 6.0, "x"),  # again
    ("5", 9, 9, "b", 8.0, "y"),
    ("5", 10, 9, "b", 8.0, "y"),  # again, under another label
    ("6", 9, 9, "b", 8.0, "y"),
]


def test_a_label_table_goes_all_the_way(spark: SparkSession, tmp_path: Path) -> None:
    put(tmp_path / "raw", *"01234567")
    (tmp_path / "raw/6").write_text("I am no picture")
    names = ["file", "label", "day", "site", "weight", "name"]
    lines = [",".join("" if value is None else str(value) for value in row) for row in [names, *TABLE]]
    objects = [json.dumps(dict(zip(names, row, strict=True))) for row in TABLE]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "labels.jsonl").write_text("\n".join(objects))
    options = {"missing": {"columns": RULES}, "keep_columns": ["weight", "name"]}
    config, other = (config_for(tmp_path, str(tmp_path / f"labels.{kind}"), **options) for kind in ("csv", "jsonl"))
    assert listing_of(other).to_pylist() == listing_of(config).to_pylist()
    manifest = run(spark, config)
    assert manifest.class_names == ["9", "10"]
    assert manifest.side_columns == {"weight": "double", "name": "string"}
    rows = rows_of(config, "data/split=train")
    assert {name: (row["label"], row["weight"], row["name"]) for name, row in rows.items()} == {
        "0": (1, 1.0, "x"),
        "1": (0, 2.0, "x"),
        "2": (1, 5.0, "x"),
        "4": (0, 8.0, "y"),
    }
    pixels = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert rows["2"]["image"] == pixels.tobytes()
    assert {name: row["reason"] for name, row in rows_of(config, "quarantine").items()} == {
        "3": "missing_value",
        "5": "conflicting_label",
        "5//2": "conflicting_label",
        "6": "not_an_image",
        "7": "missing_label",
    }
    assert {name: row["kept_id"] for name, row in rows_of(config, "deduplicated").items()} == {"0//2": "0"}
    assert (manifest.input_rows, sum(manifest.quarantine.values()), manifest.deduplicated_rows) == (10, 5, 1)


def test_pictures_are_taken_over_by_id_and_file(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "raw", *"0123")
    config = config_for(tmp_path, id_column="id")
    write(tmp_path, "id,file,label\na,0,x\nb,1,y\nc,2,x\nd,3,y\n")
    run(spark, config)
    before = {name: (row["image"], row["label"]) for name, row in rows_of(config, "data/split=train").items()}
    write(tmp_path, "id,file,label\na,1,x\nb,0,y\nc,2,y\nd,3,x\n")  # two files and two labels change places
    run(spark, config)
    assert "reused 2 of 4 pictures" in capfd.readouterr().err
    after = {name: (row["image"], row["label"]) for name, row in rows_of(config, "data/split=train").items()}
    assert after == {
        "a": (before["b"][0], 0),
        "b": (before["a"][0], 1),
        "c": (before["c"][0], 1),
        "d": (before["d"][0], 0),
    }


def test_a_changed_label_makes_clean_stale(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "raw", *"0123")
    config = config_for(tmp_path)
    write(tmp_path, "file,label\n0,x\n1,y\n2,x\n3,y\n")
    for _ in range(2):
        with data_stages.ensure_clean(lambda: spark, config) as first:
            pass
    write(tmp_path, "file,label\n0,x\n1,y\n2,y\n3,y\n")
    with data_stages.ensure_clean(lambda: spark, config) as second:
        assert second.manifest.splits["train"].class_counts == {"x": 1, "y": 3}
    told = [line for line in capfd.readouterr().err.splitlines() if "up to date" in line or "because" in line]
    assert [line.split(", because ")[-1] for line in told] == [
        f"{config.work / 'clean'} has no version yet",
        f"preprocess: up to date, {first.directory}",
        "the input changed",
    ]


@pytest.mark.parametrize("is_table", [False, True])
def test_labels_of_a_table_that_may_mean_none_are_warned_of(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str], is_table: bool
) -> None:
    put(tmp_path / "raw", "NA/1", "b/2")
    write(tmp_path, "file,label\nNA/1,NA\nb/2,b\n")
    run(spark, config_for(tmp_path, "labels.csv" if is_table else ""))
    assert ("warning: labels such as 'NA' are taken for classes" in capfd.readouterr().err) == is_table


def test_labels_that_may_mean_none_are_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    warn_of_words_for_none(["nano", "No", "0"])
    assert capfd.readouterr().err == ""
    warn_of_words_for_none(["cat", "NA", " ", "nan", "None"])
    assert capfd.readouterr().err == (
        "preprocess: warning: labels such as ' ', 'NA', 'None', 'nan' are taken for classes; "
        "leave the field empty, or null, where there is no label\n"
    )
