"""Label tables beside a folder: every row and every file is a record, and what the table says is what counts."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config import Config, parse_config
from farandole.core.fingerprint import fingerprint
from farandole.core.manifest import Manifest
from farandole.errors import ConfigError, DataError
from farandole.spark import clean, records, stages

SIDE = 4


def config_for(
    tmp_path: Path, table: str = "labels.csv", *, missing: dict[str, Any] | None = None, **data: Any
) -> Config:
    return parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "data": {
                "source": "folder",
                "path": str(tmp_path / "raw"),
                "label_table": table,
                "image_column": "file",
                **data,
            },
            "image": {"height": SIDE, "width": SIDE},
            "split": {"val_fraction": 0.0, "test_fraction": 0.0},
            "missing": missing or {},
        }
    )


def put(root: Path, *paths: str) -> None:
    for seed, path in enumerate(paths):
        bmp(root / path, seed)


def bmp(path: Path, seed: int) -> None:
    """All of one size in bytes, and of one time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path, "BMP")
    os.utime(path, ns=(0, 0))


def write(tmp_path: Path, text: str, name: str = "labels.csv") -> None:
    (tmp_path / "raw").mkdir(exist_ok=True)
    (tmp_path / "raw" / name).write_text(text, encoding="utf-8")


def listed(config: Config, *columns: str) -> list[tuple[Any, ...]]:
    rows = records.list_source(config).to_pylist()
    return [tuple(row[name] for name in (columns or ("image_id", "split", "class_name", "reason"))) for row in rows]


def now(config: Config) -> str:
    return records.source_fingerprint(config, records.list_source(config))


def run(spark: SparkSession, config: Config) -> Manifest:
    listing = records.list_source(config)
    own = fingerprint(config.model_dump(include={"data", "image", "missing", "split"}))
    parent = records.source_fingerprint(config, listing)
    return clean.preprocess(spark, config, listing, config_fingerprint=own, parent_fingerprint=parent)


def rows_of(config: Config, folder: str) -> dict[str, dict[str, Any]]:
    paths = (config.work / "clean").glob(f"{folder}/part-*.parquet")
    return {row["image_id"]: row for path in paths for row in pq.ParquetFile(path).read().to_pylist()}


def test_labels_and_splits_come_from_the_table_alone(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1.bmp", "train/x/2.bmp", 'a/b/c/ü "猫", 3.bmp', "dog/4.bmp", ".hidden/5.bmp", "loose")
    write(
        tmp_path,
        '\ufeffsplit,kind,file\nTrain,cat,1.bmp\nvalid,"cat, small",./train//x/2.bmp\n'
        ',dog,"a/b/c/ü ""猫"", 3.bmp"\ntest,,dog/4.bmp\nval,NA,.hidden/5.bmp\n',
    )
    config = config_for(tmp_path, label_column="kind", split_column="split")
    assert listed(config) == [
        (".hidden/5.bmp", "val", "NA", None),
        ("1.bmp", "train", "cat", None),
        ('a/b/c/ü "猫", 3.bmp', None, "dog", None),
        ("dog/4.bmp", "test", None, "missing_label"),
        ("loose", None, None, "missing_label"),
        ("train/x/2.bmp", "val", "cat, small", None),
    ]
    details = dict(listed(config, "image_id", "detail"))
    assert details["dog/4.bmp"] == "the label is null or empty"
    assert details["loose"] == "no row of the label table names the file"


def test_rows_without_a_file_and_unsafe_paths_are_records(tmp_path: Path) -> None:
    put(tmp_path / "raw", "a/1.bmp", "a/odd.bmp")
    put(tmp_path, "secret.bmp")
    (tmp_path / "raw/a/link.bmp").symlink_to(tmp_path / "secret.bmp")
    os.mkfifo(tmp_path / "raw/a/pipe")
    outside = str(tmp_path / "secret.bmp")
    paths = [
        "a/1.bmp",
        "a/gone.bmp",
        "../secret.bmp",
        "a/../a/1.bmp",
        outside,
        "a/link.bmp",
        "a/pipe",
        "",
        "",
        "labels.csv",
    ]
    write(tmp_path, "file,label\n" + "".join(f"{path},x\n" for path in [*paths, "a/1.bmp", "a/gone.bmp"]))
    found = {row[0]: row[1:] for row in listed(config_for(tmp_path), "image_id", "source", "class_name", "reason")}
    assert found == {
        "a/1.bmp": ("a/1.bmp", "x", None),
        "a/1.bmp//2": ("a/1.bmp", "x", None),
        "a/gone.bmp": ("a/gone.bmp", None, "missing_image"),
        "a/gone.bmp//2": ("a/gone.bmp", None, "missing_image"),
        "../secret.bmp": ("../secret.bmp", None, "unsafe_path"),
        "a/../a/1.bmp": ("a/../a/1.bmp", None, "unsafe_path"),
        outside: (outside, None, "unsafe_path"),
        "a/link.bmp": ("a/link.bmp", None, "unsafe_path"),
        "a/pipe": ("a/pipe", None, "unreadable"),
        "//1": ("//1", None, "missing_image"),
        "//2": ("//2", None, "missing_image"),
        "labels.csv": ("labels.csv", None, "missing_image"),
        "a/odd.bmp": ("a/odd.bmp", None, "missing_label"),
    }


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1", ""], {"10": None, "9": None, None: "unknown_label"}),
        (["010", "9", "-1", ""], {"010": None, "9": None, "-1": None}),
        (["true", "2026-01-01", "1.0", ""], {"true": None, "2026-01-01": None, "1.0": None}),
    ],
)
def test_labels_in_csv_are_whole_numbers_or_texts(
    tmp_path: Path, labels: list[str], classes: dict[str | None, str | None]
) -> None:
    put(tmp_path / "raw", *"0123")
    write(tmp_path, "file,label\n" + "".join(f"{file},{label}\n" for file, label in enumerate(labels)))
    rows = listed(config_for(tmp_path), "image_id", "class_name", "reason")
    assert dict(row[1:] for row in rows[:3]) == classes
    assert rows[3] == ("3", None, "missing_label")


def test_null_labels_are_filled_but_not_those_of_files_without_a_row(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2", "3")
    write(tmp_path, "file,label\n1,cat\n2,\ngone,dog\n")
    assert listed(config_for(tmp_path, missing={"label": "cat"}), "image_id", "class_name", "reason") == [
        ("1", "cat", None),
        ("2", "cat", None),
        ("3", None, "missing_label"),
        ("gone", None, "missing_image"),
    ]
    with pytest.raises(ConfigError, match=r"missing.label = 'dog' is no class; known are cat$"):
        records.list_source(config_for(tmp_path, missing={"label": "dog"}))


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
    assert records.list_source(other).to_pylist() == records.list_source(config).to_pylist()
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
    assert {name: row["kept_image_id"] for name, row in rows_of(config, "deduplicated").items()} == {"0//2": "0"}
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


def test_what_the_table_says_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2")
    config = config_for(tmp_path, id_column="id", split_column="split", keep_columns=["weight"])
    seen = []
    for text in (
        "1,1,cat,train,0.5,x\n2,2,dog,train,1.5,x\n",
        "1,1,dog,train,0.5,x\n2,2,dog,train,1.5,x\n",
        "1,1,cat,test,0.5,x\n2,2,dog,train,1.5,x\n",
        "1,1,cat,train,0.5,x\n2,2,dog,train,2.5,x\n",
        "1,1,cat,train,1,x\n2,2,dog,train,2,x\n",
        "1,1,cat,train,1.0,x\n2,2,dog,train,2.0,x\n",  # floats now
        "1,2,cat,train,0.5,x\n2,1,dog,train,1.5,x\n",
        "1,1,cat,train,0.5,x\n3,2,dog,train,1.5,x\n",
    ):
        write(tmp_path, f"id,file,label,split,weight,note\n{text}")
        seen.append(now(config))
    assert len(set(seen)) == len(seen)
    write(tmp_path, "label,id,file,split,weight\ndog,2,2,train,1.5\ncat,1,1,train,0.5\n")  # the order and notes are not
    assert now(config) == seen[0]


def test_a_changed_label_makes_clean_stale(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "raw", *"0123")
    config = config_for(tmp_path)
    write(tmp_path, "file,label\n0,x\n1,y\n2,x\n3,y\n")
    stages.ensure_clean(lambda: spark, config)
    stages.ensure_clean(lambda: spark, config)
    write(tmp_path, "file,label\n0,x\n1,y\n2,y\n3,y\n")
    assert stages.ensure_clean(lambda: spark, config).splits["train"].class_counts == {"x": 1, "y": 3}
    told = [line for line in capfd.readouterr().err.splitlines() if "up to date" in line or "because" in line]
    assert [line.split(", because ")[-1] for line in told] == [
        f"{config.work / 'clean'} does not exist",
        "preprocess: up to date",
        "the input changed",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", b"", r"labels.csv' is not CSV with a header: Empty CSV file"),
        ("labels.csv", b"file,label\n1\n", r"labels.csv' is not CSV with a header: .*Expected 2 columns, got 1"),
        ("labels.csv", b"file,label\n\xff\xfe,x\n", r"labels.csv' is not CSV with a header: .*invalid UTF8"),
        ("labels.csv", b"file,label,\xff\n1,2,3\n", r"labels.csv' is not CSV with a header: .*can't decode byte 0xff"),
        ("labels.json", b'{"file": "\xff", "label": 1}', r"labels.json' is not JSON with an object per line: .*UTF8"),
        ("labels.json", b'[{"file": 1}]', r"labels.json' is not JSON with an object per line: .*from object to array"),
        ("labels.csv", b"file,label\n", r"label table '.*labels.csv', whose columns are file, label: it has no rows"),
        ("labels.csv", b"file,label,file\n1,2,3\n", r"whose columns are file, label, file: a name stands twice"),
        (
            "labels.csv",
            b"path,label,size\n1,2,3\n",
            r"labels.csv', whose columns are path, label, size: data.image_column: the table has no column 'file'",
        ),
        ("labels.csv", b"file,class\n1,2\n", r"whose columns are file, class: data.label_column: the table has no"),
        ("labels.jsonl", b'{"file": 1, "label": 2}', r"data.image_column = 'file' is int64; expected strings: paths"),
        ("labels.jsonl", b'{"file": "1", "label": 0.5}', r"data.label_column = 'label' is double; expected integers"),
    ],
)
def test_tables_that_will_not_do_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    put(tmp_path / "raw", "1")
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        records.list_source(config_for(tmp_path, name))
    assert caught.value.exit_code == (2 if "has no" in message and "column:" in message else 3)


def test_configs_that_will_not_do(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2")
    with pytest.raises(ConfigError, match=r"data.label_table '.*/raw/none.csv' does not exist; paths are relative to"):
        records.list_source(config_for(tmp_path, "none.csv"))
    write(tmp_path, "file,label,id\n1,2,7\n2,2,7\n")
    with pytest.raises(DataError, match=r"data.id_column = 'id': 1 ids occur more than once, such as '7'; ids name"):
        records.list_source(config_for(tmp_path, id_column="id"))
    write(tmp_path, "file,label,id\n1,2,7\n2,2,\n")
    with pytest.raises(DataError, match=r"data.id_column = 'id' is null in row labels.csv#1; every row needs an id"):
        records.list_source(config_for(tmp_path, id_column="id"))
    with pytest.raises(DataError, match=r"data.split_column = 'label' is '2' in row labels.csv#0; expected train, val"):
        records.list_source(config_for(tmp_path, split_column="label", label_column="id"))
    with pytest.raises(ConfigError, match=r"data.pixel_shape = \[4, 4\], but images are files; remove the shape"):
        records.list_source(config_for(tmp_path, pixel_shape=[4, 4]))
    with pytest.raises(ConfigError, match=r"data.path '.*/nowhere' does not exist"):
        records.list_source(config_for(tmp_path, path=str(tmp_path / "nowhere")))
    inside = str(tmp_path / "work/clean/labels.csv")
    with pytest.raises(ConfigError, match=r"data.label_table '.*labels.csv' lies in .*clean, which is written anew"):
        stages.ensure_clean(lambda: pytest.fail("no session is needed"), config_for(tmp_path, inside))
