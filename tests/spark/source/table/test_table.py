"""Partitioned Parquet tables: every row ends in one place, and what cannot be right is refused by the file's name."""

import io
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.data import Split
from farandole.config.load import Config, parse_config
from farandole.core.dataset.manifest import Fill, Manifest
from farandole.errors import ConfigError, DataError
from farandole.spark.preprocess import fit_fills
from farandole.spark.source import records
from farandole.spark.source.table import files as table_files
from farandole.spark.source.table import rows as table_rows
from stage_runs import run_preprocess, run_rebalance

SIDE = 4


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, path: str, columns: dict[str, Any], **options: Any) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), root / path, **options)
    return root / path


def config_for(tmp_path: Path, *, missing: dict[str, Any] | None = None, **data: Any) -> Config:
    tables: dict[str, Any] = {
        "paths": {"work": str(tmp_path / "work")},
        "data": {"source": "table", "path": str(tmp_path / "raw"), **data},
        "image": {"height": SIDE, "width": SIDE},
        "split": {"val_fraction": 0.0, "test_fraction": 0.0},
        "missing": missing or {},
        "layout": {"num_files": 2},
    }
    return parse_config(tables)


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def run(spark: SparkSession, config: Config) -> Manifest:
    return run_preprocess(spark, config)


def rows_of(config: Config, folder: str) -> list[dict[str, Any]]:
    paths = sorted((config.work).glob(f"{folder}/part-*.parquet"))
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths]).sort_by("id").to_pylist()


def put_two_days(raw: Path) -> None:
    """Twelve rows in three files of two folder levels: one label, one image and one value are missing."""
    put(
        raw,
        "date=2026-01-01/source=web/a.parquet",
        {
            "image": [png(0), png(1), None, png(3)],
            "label": [10, 9, 9, None],
            "weight": [1.0, None, 3.0, 4.0],
            "split": ["train", "Validation", None, None],
        },
        row_group_size=2,
    )
    put(
        raw,
        "date=2026-01-01/source=__HIVE_DEFAULT_PARTITION__/b.parquet",
        {
            "label": [10, 9, -1, 9],
            "image": [png(4), png(5), png(6), b"no image"],
            "weight": [2.0, 2.0, math.nan, 1.0],
            "split": pa.nulls(4, pa.string()),
        },
    )
    put(
        raw,
        "date=2026-01-02/source=caf%C3%A9/c.parquet",
        {
            "image": pa.array([png(8), png(9), png(10), png(1)], pa.large_binary()),
            "label": [10, 9, 10, 9],
            "weight": [math.nan, 2.0, 7.0, 5.0],
            "split": ["train", "train", None, "val"],
        },
    )
    (raw / "_SUCCESS").touch()


KEPT = {"keep_columns": ["weight", "date", "source"], "split_column": "split"}


def test_a_partitioned_table_goes_all_the_way(spark: SparkSession, tmp_path: Path) -> None:
    put_two_days(tmp_path / "raw")
    rule = {"columns": {"weight": {"policy": "fill", "statistic": "median"}}}
    config = config_for(tmp_path, missing=rule, **KEPT)
    manifest = run(spark, config)
    a, b, c = (f"date=2026-01-0{day}/source={name}.parquet#" for day, name in (
        (1, "web/a"), (1, "__HIVE_DEFAULT_PARTITION__/b"), (2, "caf%C3%A9/c")))  # fmt: skip
    assert manifest.class_names == ["9", "10"]
    assert manifest.side_columns == {"weight": "double", "date": "date32[day]", "source": "string"}
    # Of train: 1, 2, 2, 2, 7; the valid weights of val and of rejected rows do not count.
    assert manifest.fills == {"weight": Fill(policy="fill", statistic="median", value=2.0)}
    assert (manifest.input_rows, manifest.deduplicated_rows) == (12, 1)
    reasons = {row["id"]: (row["reason"], row["detail"]) for row in rows_of(config, "clean/quarantine")}
    assert reasons.pop(f"{b}3")[0] == "not_an_image"
    assert reasons == {
        f"{a}2": ("missing_image", "the image is null"),
        f"{a}3": ("missing_label", "the label is null or empty"),
        f"{b}2": ("unknown_label", "the label is negative"),
    }
    new_year = date(2026, 1, 1)
    sides = {
        row["id"]: (row["label"], row["weight"], row["date"], row["source"])
        for row in rows_of(config, "clean/data/split=*")
    }
    assert sides == {
        f"{a}0": (1, 1.0, new_year, "web"),
        f"{a}1": (0, 2.0, new_year, "web"),
        f"{b}0": (1, 2.0, new_year, None),
        f"{b}1": (0, 2.0, new_year, None),
        f"{c}0": (1, 2.0, date(2026, 1, 2), "café"),
        f"{c}1": (0, 2.0, date(2026, 1, 2), "café"),
        f"{c}2": (1, 7.0, date(2026, 1, 2), "café"),
    }
    assert manifest.splits["val"].num_rows == 1
    balanced = run_rebalance(spark, config, manifest)
    assert balanced.side_columns == manifest.side_columns
    moved = rows_of(config, "balanced/data/split=*")
    assert {row["id"]: (row["label"], row["weight"], row["date"], row["source"]) for row in moved} == sides
    names = ["id", "image", "label", "content_hash", "weight", "date", "source", "copy", "row", "class_name"]
    assert list(moved[0]) == names


POLICIES: list[tuple[dict[str, Any], list[int | None]]] = [
    # In the order of hours, site a is: missing at -2 and -1, 4 at 0, 10 at 3, missing at 1 and 9. Site b has nothing.
    ({"policy": "keep"}, [None, None, 4, 10, None, None, None]),
    ({"policy": "fill", "value": -1}, [-1, -1, 4, 10, -1, -1, -1]),
    ({"policy": "fill", "statistic": "mean"}, [7, 7, 4, 10, 7, 7, 7]),
    ({"policy": "fill", "statistic": "mode"}, [4, 4, 4, 10, 4, 4, 4]),
    ({"policy": "interpolate", "order_by": "hour", "group_by": ["site"]}, [4, 4, 4, 10, 6, 10, 7]),
    ({"policy": "interpolate", "order_by": "hour", "group_by": ["site"], "value": 0}, [4, 4, 4, 10, 6, 10, 0]),
]


def test_policies(spark: SparkSession, tmp_path: Path) -> None:
    counts = pa.array([None, None, 4, 10, None, None, None], pa.int16())
    columns = {
        "id": list(range(7)),
        "image": [png(seed) for seed in range(7)],
        "label": list("aabbaab"),
        "hour": [-2, -1, 0, 3, 1, 9, 5],
        "site": ["a"] * 6 + ["b"],
    }
    names = [f"a `{number}`" for number in range(len(POLICIES))]
    put(tmp_path / "raw", "x.parquet", columns | dict.fromkeys(names, counts))
    rules = {name: rule for name, (rule, _) in zip(names, POLICIES, strict=True)}
    config = config_for(tmp_path, missing={"columns": rules}, id_column="id", keep_columns=names)
    run(spark, config)
    rows = rows_of(config, "clean/data/split=*")
    assert [[row[name] for row in rows] for name in names] == [expected for _, expected in POLICIES]


def test_a_column_without_a_value_in_train_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    empty = pa.nulls(4, pa.float64())
    columns = {"image": [png(seed) for seed in range(4)], "label": list("abab"), "x": empty}
    put(tmp_path / "raw", "x.parquet", columns)
    for statistic in ("mean", "mode"):
        rule = {"columns": {"x": {"policy": "fill", "statistic": statistic}}}
        with pytest.raises(
            DataError, match=rf"missing.columns.x: no valid value in the train split, so it has no {statistic}; give"
        ):
            run(spark, config_for(tmp_path, missing=rule, keep_columns=["x"]))


def test_a_mode_does_not_depend_on_parts_signs_of_zero_or_infinities(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [0.0, -0.0, math.inf, -0.0, 0.0, math.inf, 1.0, math.inf, 1.0, math.inf, math.inf, math.inf, None, 1.0]
    columns = {"image": [png(seed) for seed in range(14)], "label": list("ab" * 7), "x": values}
    put(tmp_path / "raw", "x.parquet", columns)
    rule = {"columns": {"x": {"policy": "fill", "statistic": "mode"}}}
    config = config_for(tmp_path, missing=rule, keep_columns=["x"])
    config = config.model_copy(update={"split": Split(val_fraction=0, test_fraction=0)})
    for rows_per_part in (2048, 3):
        monkeypatch.setattr(table_files, "ROWS_PER_PART", rows_per_part)
        value = run(spark, config).fills["x"].value
        assert (value, math.copysign(1, float(value))) == (0.0, 1.0)


def test_a_mode_of_too_many_values_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_fills, "MAX_DISTINCT", 3)
    columns = {"image": [png(seed) for seed in range(4)], "label": list("abab"), "x": [1, 2, 3, 4]}
    put(tmp_path / "raw", "x.parquet", columns)
    rule = {"columns": {"x": {"policy": "fill", "statistic": "mode"}}}
    with pytest.raises(DataError, match=r"missing.columns.x: more than 3 different values in train; take the median"):
        run(spark, config_for(tmp_path, missing=rule, keep_columns=["x"]))


def test_dropped_rows_are_quarantined_and_labels_filled(spark: SparkSession, tmp_path: Path) -> None:
    images, labels = [png(seed) for seed in range(5)], ["cat", None, "dog", "", "dog"]
    put(tmp_path / "raw", "x.parquet", {"image": images, "label": labels, "size": [1, 2, None, 4, 5]})
    config = config_for(
        tmp_path, missing={"label": "cat", "columns": {"size": {"policy": "drop"}}}, keep_columns=["size"]
    )
    manifest = run(spark, config)
    assert manifest.splits["train"].class_counts == {"cat": 3, "dog": 1}
    assert [(row["id"], row["reason"], row["detail"]) for row in rows_of(config, "clean/quarantine")] == [
        ("x.parquet#2", "missing_value", "column 'size' is null or NaN")
    ]
    with pytest.raises(ConfigError, match=r"missing.label = 'bird' is no class; known are cat, dog"):
        run(spark, config_for(tmp_path, missing={"label": "bird"}))


def pixels_of(kind: str) -> pa.Array:
    """Four pictures of 4 x 4 as lists: the second is null, the third has a hole, the fourth is too short."""
    rows = [[*range(0, 160, 10)], None, [*range(5, 165, 10)], [*range(15)]]
    rows[2][5] = None  # type: ignore[index, call-overload]
    if kind == "fixed":  # Arrow 14 writes no nulls among these
        rows[1], rows[3] = [*range(16, 32)], [*range(16)]
    if kind == "fixed":
        return pa.array(rows, pa.list_(pa.float32(), 16))
    return pa.array(rows, pa.list_(pa.int16()) if kind == "int" else pa.large_list(pa.float64()))


@pytest.mark.parametrize("kind", ["int", "float", "fixed"])
def test_pixel_lists(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    put(tmp_path / "raw", "x.parquet", {"image": pixels_of(kind), "label": ["a", "a", "b", "b"]})
    config = config_for(tmp_path, missing={"pixels": "interpolate"}, pixel_shape=[4, 4])
    manifest = run(spark, config)
    found = {
        row["id"][-1]: np.frombuffer(row["image"], np.uint8)[::3].tolist() for row in rows_of(config, "clean/data/*")
    }
    assert (found["0"], found["2"]) == ([*range(0, 160, 10)], [*range(5, 165, 10)])
    assert manifest.quarantine == ({} if kind == "fixed" else {"missing_image": 1, "wrong_channels": 1})
    if kind == "int":
        with pytest.raises(DataError, match=r"only one class has usable images: 'a' .*1 nan_pixels"):
            run(spark, config_for(tmp_path, pixel_shape=[4, 4]))


def test_the_result_does_not_depend_on_files_or_parts(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    columns = {
        "sums": range(120),  # called as columns of staging are
        "images": [f"{number}" for number in range(120)],
        "id": [f"i{number}" for number in range(120)],
        "image": [png(seed) for seed in range(120)],
        "label": rng.integers(0, 3, 120),
        "noise": pa.array(rng.normal(size=120) * 10.0 ** rng.integers(-9, 9, 120), mask=rng.random(120) < 0.1),
        "level": pa.array(rng.normal(size=120), mask=rng.random(120) < 0.3),
    }
    rules = {
        "noise": {"policy": "fill", "statistic": "mean"},
        "level": {"policy": "interpolate", "order_by": "noise", "statistic": "median"},
    }
    seen = []
    monkeypatch.setattr(records, "RECORDS_PER_FILE", 25)
    for name, num_files, rows_per_part in (("one", 1, 2048), ("many", 64, 2)):
        monkeypatch.setattr(table_files, "ROWS_PER_PART", rows_per_part)
        root = tmp_path / name
        for number, rows in enumerate(np.array_split(rng.permutation(120), num_files)):
            put(root / "raw", f"{number}.parquet", {key: pa.array(value).take(rows) for key, value in columns.items()})
        kept_names = ["noise", "level", "sums", "images"]
        config = config_for(root, missing={"columns": rules}, id_column="id", keep_columns=kept_names)
        manifest = run(spark, config)
        balanced = run_rebalance(spark, config, manifest)
        kept = {row["id"]: row for row in rows_of(config, "clean/data/*")}
        assert {name: (row["sums"], row["images"]) for name, row in kept.items()} == {
            f"i{number}": (number, str(number)) for number in range(120)
        }
        assert len(manifest.splits["train"].files) == 5
        seen.append((manifest.fills, manifest.stats, manifest.splits, balanced.splits))  # splits list hashes of files
    assert seen[0] == seen[1]


def test_huge_row_groups_are_cut_and_small_files_read_together(tmp_path: Path) -> None:
    small = {"image": [b"x"] * 3, "label": [1] * 3}
    for number in range(3):
        put(tmp_path / "raw", f"small-{number}.parquet", small)
    put(tmp_path / "raw", "huge.parquet", {"image": [b"x"] * 5000, "label": [1] * 5000})
    pieces = listing_of(config_for(tmp_path)).to_pylist()
    assert [(piece["part"], piece["path"], piece["start"], piece["stop"]) for piece in pieces] == [
        (0, "huge.parquet", 0, 1667),
        (1, "huge.parquet", 1667, 3334),
        (2, "huge.parquet", 3334, 5000),
        (2, "small-0.parquet", 0, 3),
        (2, "small-1.parquet", 0, 3),
        (2, "small-2.parquet", 0, 3),
    ]


def test_ids_occur_once_and_are_never_null(spark: SparkSession, tmp_path: Path) -> None:
    columns = {"image": [png(0), png(1), png(2)], "label": [1, 2, 1], "key": [7, 8, 7]}
    put(tmp_path / "raw", "x.parquet", columns)
    with pytest.raises(DataError, match=r"data.id_column = 'key': 1 ids occur more than once, such as '7'; ids name"):
        run(spark, config_for(tmp_path, id_column="key"))
    put(tmp_path / "raw", "x.parquet", columns | {"key": [7, None, 8]})
    with pytest.raises(DataError, match=r"data.id_column = 'key' is null in row x.parquet#1; every row needs an id"):
        run(spark, config_for(tmp_path, id_column="key"))
    put(tmp_path / "raw", "x.parquet", columns | {"key": ["test", None, "dev"]})
    with pytest.raises(
        DataError, match=r"data.split_column = 'key' is 'dev' in row x.parquet#2; expected train, training, val"
    ):
        run(spark, config_for(tmp_path, split_column="key"))


def test_a_flipped_bit_in_a_table_of_sparks_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [(bytearray(rng.bytes(1000)), number % 2) for number in range(40)]
    target = tmp_path / "table"
    spark.createDataFrame(images, "image binary, label int").coalesce(1).write.parquet(target.as_uri())
    config = parse_config({"data": {"source": "table", "path": str(target)}})
    listing = listing_of(config)
    assert sum(table.num_rows for table in table_rows.read_pieces(config.data, config.missing, listing, 100)) == 40
    (path,) = target.glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[data.index(images[20][0]) + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"row group 0: could not verify page integrity, CRC .*; the file is d"):
        list(table_rows.read_pieces(config.data, config.missing, listing, 100))
