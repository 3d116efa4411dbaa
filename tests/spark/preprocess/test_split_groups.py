"""No group of split.group_column is on two sides, whatever column names it and whatever splits are given."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from farandole.config.load import Config, parse_config
from farandole.errors import ConfigError, DataError
from farandole.spark.preprocess import split_groups
from farandole.spark.source import records
from stage_runs import run_preprocess

NUM_ROWS, SIDE = 90, 4


def config_for(tmp_path: Path, **data: Any) -> Config:
    return parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "data": {"source": "table", "path": str(tmp_path / "raw"), "pixel_shape": [SIDE, SIDE], **data},
            "image": {"height": SIDE, "width": SIDE, "channels": 1},
            "split": {"group_column": "patient", "val_fraction": 0.2, "test_fraction": 0.3},
        }
    )


def put_table(root: Path, groups: pa.Array, splits: list[str | None] | None = None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, SIDE * SIDE), dtype=np.uint8)
    columns = {"image": list(pixels), "label": [f"c{row % 3}" for row in range(NUM_ROWS)], "patient": groups}
    table = pa.table(columns | ({"split": splits} if splits else {}))
    for number in range(2):
        root.mkdir(exist_ok=True)
        pq.write_table(table.slice(number * 45, 45), root / f"{number}.parquet")


def sides(spark: SparkSession, config: Config) -> dict[Any, list[str]]:
    """The splits of each group, one for each of its rows."""
    run_preprocess(spark, config)
    found = defaultdict(list)
    for split in ("train", "val", "test"):
        for path in (config.work / "clean/data").glob(f"split={split}/*"):
            for group in pq.read_table(path, partitioning=None)["patient"].to_pylist():
                found[group].append(split)
    return found


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string(), pa.date32()], ids=str)
def test_a_group_has_one_split_and_rows_without_one_are_drawn_alone(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType
) -> None:
    numbers = pa.array([row % 20 if row < 60 else None for row in range(NUM_ROWS)], pa.int32())
    put_table(tmp_path / "raw", numbers.cast(kind))
    found = sides(spark, config_for(tmp_path))
    alone = found.pop(None)
    assert {len(splits) for splits in found.values()} == {3}
    assert all(len(set(splits)) == 1 for splits in found.values())
    assert {splits[0] for splits in found.values()} == set(alone) == {"train", "val", "test"}


def test_a_group_that_is_spared_for_a_class_stays_whole(spark: SparkSession, tmp_path: Path) -> None:
    # Three patients, one for each class: whichever would be held out stays in train with all of its rows.
    put_table(tmp_path / "raw", pa.array([f"p{row % 3}" for row in range(NUM_ROWS)]))
    for seed in range(6):
        config = config_for(tmp_path)
        found = sides(spark, config.model_copy(update={"split": config.split.model_copy(update={"seed": seed})}))
        assert found == {f"p{number}": ["train"] * 30 for number in range(3)}


@pytest.mark.parametrize("num_tasks", [1, 4])
def test_groups_on_two_given_sides_are_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_tasks: int
) -> None:
    monkeypatch.setattr(split_groups, "ROWS_PER_TASK", -(-NUM_ROWS // num_tasks))
    groups = pa.array([f"p{row // 10}" for row in range(NUM_ROWS)])
    given: list[str | None] = [None] * 50 + ["val"] * 20 + ["test"] * 20
    put_table(tmp_path / "raw", groups, given)
    config = config_for(tmp_path, split_column="split")
    found = sides(spark, config)
    assert [found[f"p{number}"] for number in range(5, 9)] == [["val"] * 10] * 2 + [["test"] * 10] * 2
    given[49], given[69], given[70], given[0] = "test", "test", "val", "train"  # of p4, p6, p7 and p0
    put_table(tmp_path / "raw", groups, given)
    with pytest.raises(
        DataError,
        match=r"split.group_column = 'patient': 3 groups have rows in several splits of the input, such as 'p4' in "
        r"train and test; give all rows of a group one",
    ):
        sides(spark, config)


def test_a_label_table_names_groups_too(spark: SparkSession, tmp_path: Path) -> None:
    from PIL import Image

    lines = ["image,label,patient"]
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for row in range(NUM_ROWS):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(tmp_path / f"raw/{row}.png")
        lines.append(f"{row}.png,c{row % 3},p{row % 20}")
    (tmp_path / "raw/labels.csv").write_text("\n".join(lines))
    found = sides(spark, config_for(tmp_path, source="folder", label_table="labels.csv", pixel_shape=[]))
    assert sum(map(len, found.values())) == NUM_ROWS
    assert all(len(set(splits)) == 1 for splits in found.values())
    assert {splits[0] for splits in found.values()} == {"train", "val", "test"}


def test_a_group_column_needs_a_table_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"split.group_column names a column of a table .* 'folder'; received 'patie"):
        config_for(tmp_path, source="folder", pixel_shape=[])
    put_table(tmp_path / "raw", pa.array(["p"] * NUM_ROWS))
    config = parse_config(config_for(tmp_path).model_dump() | {"split": {"group_column": "patent"}})
    with pytest.raises(ConfigError, match=r"the table has no column 'patent'; did you mean 'patient'"):
        records.list_source(config.data, config.missing)
