"""Equal pictures: which one stays, and that tasks which share the digests out find what one finds."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from farandole.config.data import Split
from farandole.spark.preprocess import duplicates
from farandole.spark.source.records import Part, Records, Source


def test_find_dropped_on_literal_rows() -> None:
    train, val, test, none = 0, 1, 2, -1
    rows = [
        (0, "a", "a", train, 5, b"same", 0),
        (0, "b", "b", none, 5, b"same", 0),
        (1, "c", "c", val, 5, b"same", 1),
        (1, "d", "d", train, 5, b"alone", 0),
        (1, "e", "e", none, 1, b"odd", 0),
        (2, "f", "f", test, 2, b"odd", 0),
        (2, "g", "g", test, 1, b"odd", 0),
        (3, "j", "j", none, 5, b"pair", 0),
        (3, "i", "i", train, 5, b"pair", 0),
        (4, "k", "k", val, 5, b"held out", 0),
        (4, "l", "l", test, 5, b"held out", 0),
        (5, "m", "m", none, 5, b"copy", 7),
        (5, "n", "n", none, 5, b"copy", -7),
    ]
    names = ("part", "id", "source", "split", "label", "digest", "original")
    dropped = duplicates.find_dropped(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))))
    assert [tuple(row.values()) for row in dropped.to_pylist()] == [
        (0, "a", "a", "c", [5]),
        (0, "b", "b", "c", [5]),
        (1, "e", "e", "f", [1, 2]),
        (2, "f", "f", "f", [1, 2]),
        (2, "g", "g", "f", [1, 2]),
        (3, "j", "j", "i", [5]),
        (4, "k", "k", "l", [5]),
        (5, "m", "m", "n", [5]),
    ]


def no_records(_: pa.Table, __: int) -> Iterator[Records]:
    return iter([])


@pytest.mark.parametrize("num_tasks", [1, 3])
def test_tasks_share_the_digests_out(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_tasks: int
) -> None:
    # Of three tasks, the second begins at 55555555 and the third at aaaaaaaa.
    starts = ["00000000", "55555554", "55555555", "aaaaaaa9", "aaaaaaaa", "ffffffff"]
    digests = [bytes.fromhex(start) + bytes([fill]) * 12 for start in starts for fill in (0, 255)]
    parts = []
    for part in range(2):  # the first picture is in part 0 alone
        rows = [(part, f"{part}/{index:02d}", digest) for index, digest in enumerate(digests) if part == 0 or index]
        numbers, ids, found = (list(column) for column in zip(*rows, strict=True))
        same = {name: [value] * len(rows) for name, value in (("split", -1), ("label", 5), ("original", 0))}
        same["split_key"] = same["original"]
        parts.append(pa.table({"part": numbers, "id": ids, "source": ids, "digest": found, **same}))
        (tmp_path / "parts").mkdir(exist_ok=True)
        pq.write_table(parts[-1], tmp_path / f"parts/part-{part:05d}.parquet")
    monkeypatch.setattr(duplicates, "ROWS_PER_TASK", -(-23 // num_tasks))
    source = Source(
        class_names=list("abcdef"),
        given=frozenset(),
        num_parts=2,
        input_rows=23,
        num_files=1,
        side_columns={},
        read=no_records,
    )
    duplicates.drop_duplicates(spark, Split(), source, ["image"], tmp_path)
    assert len(list((tmp_path / "dropped").iterdir())) == num_tasks
    assert duplicates.read_dropped(Part(tmp_path, 0, source)).num_rows == 0
    dropped = duplicates.read_dropped(Part(tmp_path, 1, source)).sort_by("id").to_pylist()
    assert [(row["id"], row["kept_id"]) for row in dropped] == [
        (f"1/{index:02d}", f"0/{index:02d}") for index in range(1, 12)
    ]
