"""Label tables beside a folder: every row and every file is a record, and what the table says is what counts."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.config.load import Config
from farandole.errors import ConfigError, DataError
from farandole.pipeline import data_stages
from farandole.spark.source import records
from labelled_folder import config_for, put, write


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def listed(config: Config, *columns: str) -> list[tuple[Any, ...]]:
    rows = listing_of(config).to_pylist()
    return [tuple(row[name] for name in (columns or ("id", "split", "class_name", "reason"))) for row in rows]


def now(config: Config) -> str:
    return records.source_fingerprint(config.data, listing_of(config))


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
    details = dict(listed(config, "id", "detail"))
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
    found = {row[0]: row[1:] for row in listed(config_for(tmp_path), "id", "source", "class_name", "reason")}
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
        (["10.0", "9.0", "0", ""], {"10": None, "9": None, "0": None}),  # as pandas has them beside missing ones
        (["1.0", "1.5", "2.0", ""], {"1.0": None, "1.5": None, "2.0": None}),
    ],
)
def test_labels_in_csv_are_whole_numbers_or_texts(
    tmp_path: Path, labels: list[str], classes: dict[str | None, str | None]
) -> None:
    put(tmp_path / "raw", *"0123")
    write(tmp_path, "file,label\n" + "".join(f"{file},{label}\n" for file, label in enumerate(labels)))
    rows = listed(config_for(tmp_path), "id", "class_name", "reason")
    assert dict(row[1:] for row in rows[:3]) == classes
    assert rows[3] == ("3", None, "missing_label")


def test_null_labels_are_filled_but_not_those_of_files_without_a_row(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2", "3")
    write(tmp_path, "file,label\n1,cat\n2,\ngone,dog\n")
    assert listed(config_for(tmp_path, missing={"label": "cat"}), "id", "class_name", "reason") == [
        ("1", "cat", None),
        ("2", "cat", None),
        ("3", None, "missing_label"),
        ("gone", None, "missing_image"),
    ]
    with pytest.raises(ConfigError, match=r"missing.label = 'dog' is no class; known are cat$"):
        listing_of(config_for(tmp_path, missing={"label": "dog"}))


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
    kinds = set()
    for label in ("1", '"1"'):  # whole numbers and texts are ordered differently
        write(tmp_path, f'{{"file": "1", "label": {label}}}\n', "labels.json")
        kinds.add(now(config_for(tmp_path, "labels.json")))
    assert len(kinds) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", b"", r"labels.csv' is not CSV with a header: Empty CSV file"),
        ("labels.csv", b"file,label\n1\n", r"labels.csv' is not CSV with a header: .*Expected 2 columns, got 1"),
        (
            "labels.csv",
            "file,label\n1,Käfer\n".encode("latin-1"),
            r"is not CSV with a header: line 2 is no UTF-8, b'.*K\\xe4fer.*': it has another encoding, such",
        ),
        (
            "labels.csv",
            b"file,label\n\xff\xfe,x\n",
            r"labels.csv' is not CSV with a header: line 2 is no UTF-8, b'.*fe,x",
        ),
        ("labels.csv", b"file,label,\xff\n1,2,3\n", r"labels.csv' is not CSV with a header: line 1 is no UTF-8, "),
        ("labels.json", b'{"file": "\xff", "label": 1}', r"is not JSON with an object per line: line 1 is no UTF-8, "),
        (
            "labels.json",
            b'[{"file": "1"}]',
            r"not JSON with an object per line: it is one list; give each image a line",
        ),
        (
            "labels.json",
            b'{"file": {"0": "1"}, "label": {"0": "x"}}',
            r"it is one object of 2 keys, such as 'file'; give",
        ),
        (
            "labels.json",
            b'{"file": ["1"], "label": ["x"]}',
            r"it is one object of 2 keys, such as 'file'; give each im",
        ),
        ("labels.csv", b"sep=,\r\nfile,label\r\n1,x\r\n", r"its first line is 'sep=,', which spreadsheets alone know;"),
        ("labels.csv", b'file;label;"x,y"\n1;cat;"1,5"\n', r"its fields are parted by semicolons; part them by commas"),
        ("labels.csv", b"PK\3\4\x14\0\6\0", r"it is a workbook, or another archive; save it as UTF-8"),
        ("labels.csv", b"\x1f\x8b\x08", r"it is compressed; save it as UTF-8"),
        ("labels.csv", b"file,label\n", r"label table '.*labels.csv', whose columns are file, label: it has no rows"),
        ("labels.csv", b"file,label,file\n1,2,3\n", r"whose columns are file, label, file: a name that is used"),
        (
            "labels.csv",
            b"path,label,size\n1,2,3\n",
            r"labels.csv', whose columns are path, label, size: data.image_column: the table has no column 'file'",
        ),
        ("labels.csv", b"file,class\n1,2\n", r"whose columns are file, class: data.label_column: the table has no"),
        ("labels.jsonl", b'{"file": 1, "label": 2}', r"data.image_column = 'file' is int64; expected strings: paths"),
        (
            "labels.csv",
            "file,label\n1,x\n".encode("utf-16"),
            r"labels.csv' is not CSV .*: it is UTF-16; save it as UTF-8",
        ),
        (
            "labels.csv",
            "file,label\n1,x\n".encode("utf-32"),
            r"is not CSV with a header: it is UTF-32; save it as UTF-8",
        ),
        (
            "labels.csv",
            "file,label\n1,x\n".encode("utf-16-le"),
            r": it is UTF-16 without a byte order mark, or no text;",
        ),
        (
            "labels.json",
            '{"file": "1"}'.encode("utf-16"),
            r"labels.json' is not JSON .*: it is UTF-16; save it as UTF-8",
        ),
        (
            "labels.csv",
            b"file;label\r\n1;2,5\r\n",
            r"not CSV .*: its fields are parted by semicolons; part them by commas",
        ),
        (
            "labels.CSV",
            b"file\tlabel\n1\tx\n",
            r"labels.CSV' is not CSV .*: its fields are parted by tabs; part them by",
        ),
        (
            "labels.json",
            b'{"1": "x", "2": "y"}',
            r"it is one object of 2 keys, such as '1'; give .*, {\"file\": PATH, \"la",
        ),
        (
            "labels.csv",
            b'file,label\n1,x\n2,"y\n3,x\n4,"y\n',
            r"line 3: 'label' goes on over 3 lines, 'y\\n3,x\\n4,y'; is a q",
        ),
        (
            "labels.csv",
            b'file,label\n"1,x\r\n2",y\r\n',
            r"line 2: 'file' goes on over 2 lines, .*close it, or double it",
        ),
        ("labels.jsonl", b'{"file": "1", "label": [1]}', r"data.label_column = 'label' is list of int64; expected"),
    ],
)
def test_tables_that_will_not_do_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    put(tmp_path / "raw", "1")
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        listing_of(config_for(tmp_path, name))
    assert caught.value.exit_code == (2 if "has no" in message and "column:" in message else 3)


def test_texts_of_json_that_look_like_times_are_texts(tmp_path: Path) -> None:
    put(tmp_path / "raw", "2024-01-01", "b")
    rows = '{"file": "2024-01-01", "label": "2024-01-02", "on": "2024-01-03"}\n{"file": "b", "label": "2024-01-01"}\n'
    write(tmp_path, rows, "labels.json")
    config = config_for(tmp_path, "labels.json", keep_columns=["on"])
    assert listed(config, "id", "class_name") == [("2024-01-01", "2024-01-02"), ("b", "2024-01-01")]
    assert str(listing_of(config)["side:on"].type).startswith("timestamp")


def test_a_label_table_may_be_parquet_and_hold_labels_of_all_types(tmp_path: Path) -> None:
    put(tmp_path / "raw", "a.bmp", "b.bmp", "c.bmp")
    table = pa.table({"file": ["a.bmp", "b.bmp", "c"], "label": [10.0, None, 9.0]})
    pq.write_table(table, tmp_path / "raw/labels.parquet")
    assert listed(config_for(tmp_path, "labels.parquet"), "id", "class_name", "reason") == [
        ("a.bmp", "10", None),
        ("b.bmp", None, "missing_label"),
        ("c.bmp", "9", None),
    ]
    assert [
        row[1] for row in listed(config_for(tmp_path, "labels.parquet", missing={"label": "9"}), "id", "class_name")
    ] == ["10", "9", "9"]
    (tmp_path / "raw/labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"data.label_table '.*labels.parquet' is not Parquet: "):
        listing_of(config_for(tmp_path, "labels.parquet"))


def test_a_json_map_is_refused_before_each_key_is_a_column(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1")
    write(tmp_path, json.dumps({f"img/{number}.png": "cat" for number in range(20_000)}), "labels.json")
    with pytest.raises(DataError, match=r"it is one object of 20000 keys, such as 'img/0.png'; give") as caught:
        listing_of(config_for(tmp_path, "labels.json"))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_what_nobody_uses_may_be_as_it_likes(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1")
    (tmp_path / "raw/labels.csv").write_bytes("file,label,a;b;c,note,note\n1,x,2,Käfer,\n".encode("latin-1"))
    assert listed(config_for(tmp_path), "id", "class_name") == [("1", "x")]


def test_absolute_paths_are_taken_where_they_lie_in_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "raw", "a/1.bmp", "a/2.bmp")
    root = tmp_path / "raw"
    write(tmp_path, f"file,label\n{root}/a/1.bmp,x\n{root}//./a/2,y\n{root}/../raw/a/1.bmp,x\n{root}2/a/1.bmp,x\n")
    assert [row[1:] for row in listed(config_for(tmp_path), "id", "source", "class_name", "reason")] == [
        ("../raw/a/1.bmp", None, "unsafe_path"),
        (f"{root}2/a/1.bmp", None, "unsafe_path"),
        ("a/1.bmp", "x", None),
        ("a/2.bmp", "y", None),
    ]


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1")
    write(tmp_path, ",".join(f"c{number}" for number in range(500)) + "\n" + ",".join("1" * 500) + "\n")
    with pytest.raises(
        ConfigError, match=r"whose columns are c0, .*, c19, \.\.\. \(500 in all\): data.image_col"
    ) as caught:
        listing_of(config_for(tmp_path))
    assert "c20" not in str(caught.value)


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2")
    write(tmp_path, ",file,label,,\n0,1,x,,\n1,2,y,,\n", "labels.CSV")
    assert listed(config_for(tmp_path, "labels.CSV"), "id", "class_name", "reason") == [
        ("1", "x", None),
        ("2", "y", None),
    ]


def test_a_text_that_takes_in_rows_is_warned_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "raw", "1", "2", "3")
    write(tmp_path, 'file,label,note\n1,x,"two\nlines, as texts have"\n2,y,ok\n')
    listing_of(config_for(tmp_path))
    assert capfd.readouterr().err == ""
    write(tmp_path, 'file,label,note\n1,x,"5\n2,y,ok\n3,y,"5\n')
    listing_of(config_for(tmp_path))
    assert "preprocess: warning: label table '" in (said := capfd.readouterr().err)
    assert "labels.csv', line 2: 'note' goes on over 3 lines, '5\\n2,y,ok\\n3,y,5'; is a quote not closed?" in said


def test_names_in_another_spelling_are_found(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Käfer.bmp")
    put(tmp_path / "raw", decomposed, "a/1.BMP", "a/2.bmp", "a/2.txt", "b/3.png", "b/3.jpg", "c\\4.bmp")
    write(tmp_path, "file,label\nKäfer,x\na\\1,x\n.\\a\\2.bmp,x\na/2,x\nb/3,x\nc\\4.bmp,x\n..\\a\\2.bmp,x\n")
    found = {row[0]: row[1:] for row in listed(config_for(tmp_path), "id", "class_name", "reason", "detail")}
    gone = "there is no such file; the folder has 'a/2.txt', which no row names"
    no_row = "no row of the label table names the file"
    assert found == {
        decomposed: ("x", None, None),
        "a/1.BMP": ("x", None, None),
        "a/2.bmp": ("x", None, None),
        "a/2.bmp//2": ("x", None, None),
        "b/3": (None, "missing_image", gone),  # two could be meant
        "c\\4.bmp": ("x", None, None),
        "..\\a\\2.bmp": (None, "missing_image", gone),
        **dict.fromkeys(["a/2.txt", "b/3.png", "b/3.jpg"], (None, "missing_label", no_row)),
    }


def test_configs_that_will_not_do(tmp_path: Path) -> None:
    put(tmp_path / "raw", "1", "2")
    with pytest.raises(ConfigError, match=r"data.label_table '.*/raw/none.csv' does not exist; paths are relative to"):
        listing_of(config_for(tmp_path, "none.csv"))
    with pytest.raises(
        ConfigError, match=r"data.label_table = '.*/raw/a.txt'; expected a .csv, .json, .jsonl or .parquet file"
    ):
        config_for(tmp_path, "a.txt")
    write(tmp_path, "file,label,id\n1,2,7\n2,2,7\n")
    with pytest.raises(DataError, match=r"data.id_column = 'id': 1 ids occur more than once, such as '7'; ids name"):
        listing_of(config_for(tmp_path, id_column="id"))
    write(tmp_path, "file,label,id\n1,2,7\n2,2,\n")
    with pytest.raises(
        DataError, match=r"data.id_column = 'id' is null in row .*/raw/labels.csv#1; every row needs an id"
    ):
        listing_of(config_for(tmp_path, id_column="id"))
    with pytest.raises(
        DataError, match=r"data.split_column = 'label' is '2' in row .*/raw/labels.csv#0; expected train"
    ):
        listing_of(config_for(tmp_path, split_column="label", label_column="id"))
    with pytest.raises(ConfigError, match=r"data.pixel_shape = \[4, 4\], but images are files; remove the shape"):
        listing_of(config_for(tmp_path, pixel_shape=[4, 4]))
    with pytest.raises(ConfigError, match=r"data.path '.*/nowhere' does not exist"):
        listing_of(config_for(tmp_path, path=str(tmp_path / "nowhere")))
    inside = str(tmp_path / "work/clean/labels.csv")
    stage = data_stages.ensure_clean(lambda: pytest.fail("no session is needed"), config_for(tmp_path, inside))
    with pytest.raises(ConfigError, match=r"data.label_table '.*labels.csv' lies in .*clean, where versions"), stage:
        pass
