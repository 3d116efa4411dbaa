"""What is refused of a table before and while it is read, without Spark; every message names the file or the column."""

import datetime
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.config.load import Config, parse_config
from farandole.errors import ConfigError, DataError
from farandole.spark.source import records
from farandole.spark.source.table import common_columns
from farandole.spark.source.table import files as table_files
from farandole.spark.source.table import rows as table_rows

ROWS: dict[str, Any] = {"image": [b"one", b"two"], "label": [1, 2], "size": [0.5, 1.5]}


def config_for(tmp_path: Path, *, missing: dict[str, Any] | None = None, **data: Any) -> Config:
    return parse_config(
        {"data": {"source": "table", "path": str(tmp_path), **data}, "missing": missing or {}, "image": {"height": 4}}
    )


def put(path: Path, **changed: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: column for name, column in (ROWS | changed).items() if column is not None}
    pq.write_table(pa.table(columns), path)
    return path


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def read(config: Config, pieces: pa.Table) -> pa.Table:
    return pa.concat_tables(table_rows.read_pieces(config.data, config.missing, pieces, 100))


def test_the_middle_of_a_row_group_is_read_right(tmp_path: Path) -> None:
    labels = ["cat", "", "elephant", None] * 1250
    config = config_for(put(tmp_path / "x.parquet", image=[b"x"] * 5000, label=labels, size=None))
    pieces = listing_of(config)
    rows = read(config, pieces.filter(pa.array([part == 1 for part in pieces["part"].to_pylist()])))
    assert rows["class_name"].to_pylist() == [name or None for name in labels[1667:3334]]
    assert rows["id"].to_pylist() == [f"x.parquet#{number}" for number in range(1667, 3334)]
    assert rows["reason"].to_pylist() == [None if name else "missing_label" for name in labels[1667:3334]]


def test_all_files_that_differ_are_listed(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / f"day=1/good-{number}.parquet")
    put(tmp_path / "day=1/text.parquet", label=["1", "2"])
    put(tmp_path / "day=1/less.parquet", size=None)
    put(tmp_path / "day=1/more.parquet", extra=[1, 2])
    put(tmp_path / "flat.parquet")
    with pytest.raises(DataError) as caught:
        listing_of(config_for(tmp_path, keep_columns=["size", "day"]))
    assert str(caught.value) == (
        f"3 of 7 files in data.path {str(tmp_path)!r} differ from the others: day=1/less.parquet lacks 'size'; "
        f"day=1/text.parquet has 'label' as string, not int64; flat.parquet lacks 'day'; rewrite or remove them"
    )
    (tmp_path / "day=1/text.parquet").unlink()
    assert listing_of(config_for(tmp_path)).num_rows == 6  # of what nobody wants files may have what they like


def test_a_column_beside_a_folder_of_its_name_must_agree_with_it(tmp_path: Path) -> None:
    for folder, values in {
        "size=0.5": [0.5, 0.5],
        "size=7": [7.0, 7.0],
        "size=__HIVE_DEFAULT_PARTITION__": [None] * 2,
    }.items():
        put(tmp_path / folder / "x.parquet", size=pa.array(values, pa.float64()))
    config = config_for(tmp_path, keep_columns=["size"])
    assert read(config, listing_of(config))["side:size"].to_pylist() == [0.5, 0.5, 7.0, 7.0, None, None]
    put(tmp_path / "size=7/x.parquet", size=[7.0, 8.0])
    with pytest.raises(
        DataError, match=r"column 'size' is 8.0 1 rows behind size=7/x.parquet#0, but its folder says '7'; drop the"
    ):
        read(config, listing_of(config))
    assert listing_of(config_for(tmp_path)).num_rows == 3  # nobody wants it


def test_nulls_agree_with_any_type(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", size=pa.nulls(2), label=pa.nulls(2), image=pa.nulls(2))
    put(tmp_path / "b.parquet")
    put(tmp_path / "c.parquet", label=pa.nulls(2))
    config = config_for(tmp_path, keep_columns=["size"])
    rows = read(config, listing_of(config))
    assert rows["side:size"].to_pylist() == [None, None, 0.5, 1.5, 0.5, 1.5]
    assert rows["class_name"].to_pylist() == [None, None, "1", "2", None, None]
    assert rows["image"].to_pylist() == [None, None, b"one", b"two", b"one", b"two"]


def test_labels_that_are_whole_numbers_agree_however_they_are_stored(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", label=pa.array([1.0, None]))
    put(tmp_path / "b.parquet", label=pa.array([10, 9], pa.int8()))
    put(tmp_path / "c.parquet", label=pa.array([3, 1]))
    put(tmp_path / "d.parquet", label=pa.array([2, 1]))
    config = config_for(tmp_path)
    assert read(config, listing_of(config))["class_name"].to_pylist() == ["1", None, "10", "9", "3", "1", "2", "1"]
    put(tmp_path / "b.parquet", label=["x", "y"])
    with pytest.raises(DataError, match=r": b.parquet has 'label' as string, not int64; rewrite or remove them"):
        listing_of(config)


@pytest.mark.parametrize("kind", ["label", "id", "split"])
def test_a_folder_whose_name_looks_like_a_date_is_a_class(tmp_path: Path, kind: str) -> None:
    values = {"label": ["2026-01-31", "2026-02-01"], "id": ["2026-01-31"], "split": ["train"]}[kind]
    for value in values:
        put(
            tmp_path / f"{kind}={value}" / "x.parquet", image=[b"one"], label=[1] if kind != "label" else None, size=[1]
        )
    config = config_for(tmp_path, **({} if kind == "label" else {f"{kind}_column": kind}))
    column = {"label": "class_name", "id": "id", "split": "split"}[kind]
    assert read(config, listing_of(config))[column].to_pylist() == values


@pytest.mark.parametrize("name", ["\U0001f469\u200d\U0001f52c", "a\u00a0b", "a\u3000b", "\u00e9t\u00e9"])
def test_names_with_joiners_and_blanks_of_all_kinds_are_read(tmp_path: Path, name: str) -> None:
    put(tmp_path / f"label={name}" / "x.parquet", label=None)
    config = config_for(tmp_path)
    assert read(config, listing_of(config))["class_name"].to_pylist() == [name, name]


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a\x1b[31m"])
def test_names_that_break_lines_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / name / "x.parquet")
    with pytest.raises(DataError, match="is a link or no file, or has an unsafe name"):
        listing_of(config_for(tmp_path))


def test_storage_is_no_difference(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", size=["x", "y"])
    put(tmp_path / "b.parquet", size=pa.array(["x", "x"]).dictionary_encode())
    put(
        tmp_path / "c.parquet",
        size=pa.array(["x", None], pa.large_string()),
        image=pa.array(ROWS["image"], pa.large_binary()),
    )
    config = config_for(tmp_path, keep_columns=["size"])
    assert read(config, listing_of(config))["side:size"].to_pylist() == ["x", "y", "x", "x", "x", None]


def test_nanoseconds_and_zones_become_what_spark_reads(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    put(tmp_path / "a.parquet", size=pa.array([moment, None], pa.timestamp("ns", "Europe/Berlin")))
    config = config_for(tmp_path, keep_columns=["size"])
    column = read(config, listing_of(config))["side:size"]
    assert (str(column.type), column.to_pylist()) == ("timestamp[us, tz=UTC]", [moment, None])


@pytest.mark.parametrize(
    ("names", "kind", "values"),
    [
        (["-3", "12"], "int64", [-3, 12]),
        (["007", "12"], "string", ["007", "12"]),
        (["2026-01-31", "2026-02-01"], "date32[day]", [datetime.date(2026, 1, 31), datetime.date(2026, 2, 1)]),
        (["20260131x", "__HIVE_DEFAULT_PARTITION__"], "string", ["20260131x", None]),
        (["a%2Fb ü", "c"], "string", ["a/b ü", "c"]),
    ],
)
def test_folders_are_columns(tmp_path: Path, names: list[str], kind: str, values: list[Any]) -> None:
    for name in names:
        put(tmp_path / f"day={name}" / "x.parquet", label=None, size=[datetime.date(2026, 1, 1)] * 2)
    config = config_for(tmp_path, label_column="size", keep_columns=["day"])
    with pytest.raises(DataError, match=r"data.label_column = 'size' is date32\[day\]; expected whole numbers, bool"):
        listing_of(config)
    for name in names:
        put(tmp_path / f"day={name}" / "x.parquet")
    config = config_for(tmp_path, keep_columns=["day"])
    found = read(config, listing_of(config))["side:day"]
    assert str(found.type) == kind
    assert found.to_pylist()[::2] == values


def test_one_file_is_a_table_and_the_path_may_hold_the_label(tmp_path: Path) -> None:
    path = put(tmp_path / "label=cat/x.parquet", label=None)
    config = config_for(path, label_column="size")
    assert read(config, listing_of(config))["detail"].to_pylist() == ["the label is no whole number"] * 2
    config = config_for(tmp_path)
    rows = read(config, listing_of(config))
    assert (rows["class_name"].to_pylist(), rows["image"].to_pylist()) == (["cat", "cat"], [b"one", b"two"])
    scanned = table_rows.read_pieces(config.data, config.missing, listing_of(config), 100, with_images=False)
    assert next(scanned)["class_name"].to_pylist() == ["cat", "cat"]


def test_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = put(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"x.parquet is not a readable Parquet file: .*; it is cut off or damaged"):
        listing_of(config_for(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"x.parquet is not a readable Parquet file"):
        listing_of(config_for(tmp_path))


def test_what_lies_beside_a_table_is_not_called_damaged(tmp_path: Path) -> None:
    put(tmp_path / "data/x.parquet")
    (tmp_path / "README.md").write_text("# Pictures of cats")
    with pytest.raises(
        DataError, match=r"README.md is no Parquet file, it starts with b'# Pictures of ca'; move it out"
    ):
        listing_of(config_for(tmp_path))
    (tmp_path / "README.md").rename(tmp_path / "_README.md")
    assert listing_of(config_for(tmp_path)).num_rows == 1


def test_a_file_that_arrow_cannot_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = put(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-4] + b"PARE")  # as encrypted ones end
    with pytest.raises(
        DataError, match=r"encrypted .*; pyarrow [0-9.]+ cannot read this kind of file, which may be so"
    ):
        listing_of(config_for(tmp_path))
    lacks = [pa.ArrowNotImplementedError("x"), OSError("Unrecognized type: 23"), OSError("LZO ... is not supported")]
    assert all("may be sound" in table_files.verdict(error, "it is damaged") for error in lacks)
    assert table_files.verdict(pa.ArrowInvalid("bad"), "it is damaged") == "it is damaged: replace or remove it"


def test_a_file_that_vanishes_or_changes_is_named(tmp_path: Path) -> None:
    path, config = put(tmp_path / "x.parquet"), config_for(tmp_path)
    pieces = listing_of(config)
    put(path, label=[1, 3], size=[1.0, 2.0])
    with pytest.raises(DataError, match=r"x.parquet changed since it was listed; run again when nobody changes"):
        read(config, pieces)
    path.unlink()
    with pytest.raises(DataError, match=r"x.parquet is gone since it was listed"):
        read(config, pieces)


def test_a_flipped_bit_in_a_page_header_is_named(tmp_path: Path) -> None:
    path, config = put(tmp_path / "x.parquet"), config_for(tmp_path)
    pieces = listing_of(config)
    data = bytearray(path.read_bytes())
    data[4:12] = bytes(byte ^ 0xFF for byte in data[4:12])
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x.parquet, row group 0.*; the file is damaged: replace or remove it"):
        read(config, pieces)


def test_a_table_without_files_or_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.path '.*none' does not exist; give the folder that holds the Parquet"):
        listing_of(config_for(tmp_path / "none"))
    with pytest.raises(DataError, match=r"holds no Parquet files"):
        listing_of(config_for(tmp_path))
    put(tmp_path / "x.parquet", image=pa.array([], pa.binary()), label=pa.array([], pa.int64()), size=None)
    with pytest.raises(DataError, match=r"holds 1 Parquet files, but no rows"):
        listing_of(config_for(tmp_path))
    (tmp_path / "link.parquet").symlink_to("x.parquet")
    with pytest.raises(DataError, match=r"'link.parquet' in data.path is a link or no file, or has an unsafe name"):
        listing_of(config_for(tmp_path))
    (tmp_path / "link.parquet").unlink()
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(DataError, match=r"'pipe.parquet' in data.path is a link or no file"):
        listing_of(config_for(tmp_path))


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
        ("_spark_metadata/0", "Parquet"),
    ],
)
@pytest.mark.parametrize("given", [".", "lake", "lake/sub", "lake/sub/day=1", "lake/sub/day=1/x.parquet"])
def test_files_of_a_table_with_a_log_are_refused(tmp_path: Path, log: str, kind: str, given: str) -> None:
    table = tmp_path / "lake/sub"
    put(table / "day=1/x.parquet")
    assert listing_of(config_for(tmp_path / given)).num_rows == 1
    (table / log).parent.mkdir()
    (table / log).touch()
    found = table / (log if kind == "Iceberg" else Path(log).parent)
    with pytest.raises(DataError) as caught:
        listing_of(config_for(tmp_path / given))
    what = f"a{'n' if kind == 'Iceberg' else ''} {kind} table, those of deleted and replaced rows, too"
    what = "a streaming query, those that it never committed, too" if kind == "Parquet" else what
    assert str(caught.value) == (
        f"data.path {str(tmp_path / given)!r} holds files of {what}: "
        f"{str(found)!r} was found; write the version that you want as plain Parquet, with "
        f"spark.read.format({kind.lower()!r}).load({str(table)!r}).write.parquet(FOLDER), and give that FOLDER"
    )


def test_a_link_into_a_table_with_a_log_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "table/day=1/x.parquet")
    (tmp_path / "table/_delta_log").mkdir()
    (tmp_path / "link").symlink_to("table/day=1")
    with pytest.raises(DataError, match=r"data.path '.*/link' holds files of a Delta table, .*/table/_delta_log' was"):
        listing_of(config_for(tmp_path / "link"))


def test_plain_folders_with_such_names_are_read(tmp_path: Path) -> None:
    put(tmp_path / "metadata/x.parquet")
    put(tmp_path / "data/metadata/y.metadata.parquet")
    put(tmp_path / "_old/_delta_log/0.checkpoint.parquet")  # a table in a hidden folder, which is not read
    put(tmp_path / ".old/metadata/v1.metadata.json")
    for folder, paths in {
        ".": ["data/metadata/y.metadata.parquet", "metadata/x.parquet"],
        "metadata": ["x.parquet"],
    }.items():
        assert listing_of(config_for(tmp_path / folder))["path"].to_pylist() == paths


def test_every_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a/metadata/x.parquet")
    (tmp_path / "a/_hidden").mkdir()
    listed: list[Any] = []
    scandir = os.scandir

    def count(path: Any) -> Any:
        entries = scandir(path)
        listed.append(Path(path).name)
        return entries

    monkeypatch.setattr(os, "scandir", count)
    listing_of(config_for(tmp_path))
    assert sorted(listed) == ["_hidden", "a", "metadata", tmp_path.name]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"image_column": "imag"}, "data.image_column: the table has no column 'imag'; did you mean 'image'?"),
        (
            {"label_column": "zz"},
            "data.label_column: the table has no column 'zz'; the table has image, label, size, odd",
        ),
        ({"image_column": "label"}, "data.image_column = 'label' is int64; expected binary"),
        ({"image_column": "odd"}, r"data.image_column = 'odd' is list of int64; give its shape"),
        ({"split_column": "label"}, "data.split_column = 'label' is int64; expected strings"),
        ({"keep_columns": ["label"]}, "data.keep_columns: 'label' is a column of our own"),
        ({"image_column": "paths"}, r"'paths' is string; .* set data.source = 'folder', data.path .* data.label_table"),
        ({"keep_columns": ["odd"]}, "data.keep_columns: 'odd' is list of int64; kept can be int8"),
    ],
)
def test_columns_that_will_not_do(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    put(tmp_path / "x.parquet", odd=[[1], [2]], paths=["a.png", "b.png"])
    with pytest.raises((ConfigError, DataError), match=message):
        listing_of(config_for(tmp_path, **data))


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("other", {"policy": "drop"}, r"missing.columns.other: 'other' is not kept; add it to data.keep_columns = \["),
        ("word", {"policy": "fill", "statistic": "mean"}, "missing.columns.word: 'word' is string, and only numbers"),
        ("size", {"policy": "interpolate", "order_by": "word"}, "order_by: 'word' is string; it has no distances"),
        ("size", {"policy": "interpolate", "order_by": "sise"}, "order_by: the table has no column 'sise'; did you"),
        (
            "size",
            {"policy": "interpolate", "order_by": "size", "group_by": ["image"]},
            "missing.columns.size.group_by: 'image' is binary; it cannot name a group",
        ),
        ("word", {"policy": "fill", "value": 1}, "missing.columns.word: value = 1 does not go into a column of type s"),
    ],
)
def test_policies_that_will_not_do(tmp_path: Path, name: str, rule: dict[str, Any], message: str) -> None:
    put(tmp_path / "x.parquet", word=["a", "b"])
    config = config_for(tmp_path, missing={"columns": {name: rule}}, keep_columns=["size", "word"])
    with pytest.raises(ConfigError, match=message):
        listing_of(config)


def test_the_fingerprint_follows_the_footers(tmp_path: Path) -> None:
    path, config = put(tmp_path / "x.parquet"), config_for(tmp_path)
    seen = {records.source_fingerprint(config.data, listing_of(config)) for _ in range(2)}
    put(path, label=[1, 3])
    seen.add(records.source_fingerprint(config.data, listing_of(config)))
    path.rename(tmp_path / "y.parquet")
    seen.add(records.source_fingerprint(config.data, listing_of(config)))
    assert len(seen) == 3
    assert common_columns.folder_values("a=1/b/c=__HIVE_DEFAULT_PARTITION__/d=e.parquet") == {"a": "1", "c": None}
