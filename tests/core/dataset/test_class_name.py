"""What data files hold for those who know no manifest: the class by name, and the shape of a picture."""

import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import make_manifest, sample_of, split_entry

from farandole.core.batches.reader import SplitFiles
from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import write_rows
from farandole.core.dataset.schema import BALANCED, CLASS_NAME

NAMES = ["ant", "büg", *(f"a class of a long name, number {number:04d}" for number in range(998))]
SAMPLE = sample_of(4, 2, 3, class_names=NAMES)


def rows(labels: list[int], first: int = 0, schema: pa.Schema = BALANCED) -> pa.Table:
    numbers = np.arange(first, first + len(labels))
    columns = {
        "id": [str(number) for number in numbers],
        "image": [np.full(24, number, np.uint8).tobytes() for number in numbers],
        "label": pa.array(labels, pa.int32()),
        "content_hash": pa.array(numbers, pa.int64()),
        "copy": pa.array(np.zeros(len(labels)), pa.int32()),
        "row": pa.array(numbers, pa.int64()),
    }
    return pa.table({name: columns.get(name, ["own"] * len(labels)) for name in schema.names}, schema=schema)


def written(root: Path, schema: pa.Schema = BALANCED) -> FileEntry:
    groups = [rows([1, 0, 1], schema=schema), rows([999, 999], 3, schema)]
    return write_rows(root, "data/split=train/part-00000.parquet", schema, groups, SAMPLE)


def test_pandas_has_the_classes_by_name_and_the_shape_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / written(tmp_path).path
    frame = pandas.read_parquet(path)
    assert frame.class_name.tolist() == ["büg", "ant", "büg", NAMES[999], NAMES[999]]
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"image_encoding"], metadata[b"image_dtype"]) == (b"raw", b"uint8")
    shape = json.loads(metadata[b"image_shape"])
    assert np.frombuffer(frame.image[4], np.uint8).reshape(shape).shape == (4, 2, 3)


def test_names_are_a_dictionary_of_those_that_occur_and_weigh_little_on_who_reads_the_rest(tmp_path: Path) -> None:
    entry = written(tmp_path)
    footer = pq.read_metadata(tmp_path / entry.path)
    sizes = []
    for group in range(2):
        columns = [footer.row_group(group).column(index) for index in range(footer.num_columns)]
        assert columns[-1].path_in_schema == CLASS_NAME.name  # the last, behind what ranks read
        assert columns[-1].has_dictionary_page
        assert columns[-1].statistics is None  # or every footer would hold two names more for each row group
        sizes.append(columns[-1].total_compressed_size)
    assert max(sizes) < 200, "of 1,000 names those two that occur"
    manifest = make_manifest(
        {"train": split_entry(dict.fromkeys(NAMES, 0) | {"ant": 1, "büg": 2, NAMES[999]: 2}, [entry])},
        stage="rebalance", image_shape=(4, 2, 3),
    )  # fmt: skip
    files = SplitFiles(tmp_path, manifest, "train")
    assert CLASS_NAME.name not in files.columns
    assert [files.read(group).values["label"].tolist() for group in range(2)] == [[1, 0, 1], [999, 999]]


def test_a_side_column_of_that_name_stays_the_users(tmp_path: Path) -> None:
    schema = pa.schema([*BALANCED, pa.field("class_name", pa.string())])
    path = tmp_path / written(tmp_path, schema).path
    assert pandas.read_parquet(path).class_name.tolist() == ["own"] * 5
    assert json.loads(pq.read_schema(path).metadata[b"image_shape"]) == [4, 2, 3]


def test_duckdb_has_them_too(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="./do bench installs it")
    path = tmp_path / written(tmp_path).path
    found = duckdb.sql(f"SELECT class_name, count(*) FROM '{path}' GROUP BY ALL ORDER BY ALL").fetchall()
    assert found == [(NAMES[999], 2), ("ant", 1), ("büg", 2)]
    notes = duckdb.sql(f"SELECT key, value FROM parquet_kv_metadata('{path}')").fetchall()
    assert json.loads(dict(notes)[b"image_shape"]) == [4, 2, 3]
