"""The same images and labels in all the types that writers of Parquet use for them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.config.load import Config, parse_config
from farandole.core.record.quality import RejectedError
from farandole.errors import ConfigError, DataError
from farandole.spark.source import records
from farandole.spark.source.table import rows as table_rows
from farandole.spark.source.table.column_types import column_types, plain_type, sort_classes
from farandole.spark.source.table.images import image_loader

BYTES = [b"one", None, b"three"]


def config_for(tmp_path: Path, **data: Any) -> Config:
    return parse_config({"data": {"source": "table", "path": str(tmp_path), **data}})


def rows_of(tmp_path: Path, columns: dict[str, Any], **data: Any) -> tuple[pa.Table, Any]:
    """The rows, and the images as loaded or the reason why not."""
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    config = config_for(tmp_path, **data)
    listing = records.list_source(config.data, config.missing)
    rows = pa.concat_tables(table_rows.read_pieces(config.data, config.missing, listing, 2))
    load = image_loader(config.data, config.missing, rows["image"])

    def loaded(index: int) -> Any:
        try:
            return load(index)
        except RejectedError as error:
            return str(error)

    return rows, [loaded(index) for index in range(rows.num_rows)]


@pytest.mark.parametrize(
    "images",
    [
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES, pa.binary_view()),
        pa.array([{"bytes": value, "path": "x.png"} for value in BYTES]),
        pa.array([{"path": None, "bytes": value} if value else None for value in BYTES]),
    ],
    ids=["large", "view", "struct", "null_struct"],
)
def test_encoded_images(tmp_path: Path, images: pa.Array) -> None:
    labels = pa.array(["a", "b", "a"], pa.string_view())
    rows, loaded = rows_of(tmp_path, {"image": images, "label": labels})
    assert rows["class_name"].to_pylist() == ["a", "b", "a"]
    assert loaded == [b"one", "missing_image: the image is null", b"three"]


def test_what_lies_in_a_struct_is_called_by_its_path(tmp_path: Path) -> None:
    sample = pa.array(
        [{"image": {"bytes": b"one", "path": "1"}, "meta": {"site.id": 7, "label": "a"}}, None],
        pa.struct(
            [
                ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                ("meta", pa.struct([("site.id", pa.int64()), ("label", pa.string())])),
            ]
        ),
    )
    columns = {"sample": sample, "sample.meta.label": ["own", "other"]}
    for image_column in ("sample.image", "sample.image.bytes"):
        rows, loaded = rows_of(
            tmp_path,
            columns,
            image_column=image_column,
            label_column="sample.meta.label",  # a column itself is called so
            keep_columns=["sample.meta.site.id"],
        )
        assert loaded == [b"one", "missing_image: the image is null"]
        assert rows["side:sample.meta.site.id"].to_pylist() == [7, None]
        assert rows["class_name"].to_pylist() == ["own", "other"]
    with pytest.raises(ConfigError, match=r"has no column 'sample.image.bites'; did you mean 'sample.image.bytes'\?"):
        rows_of(tmp_path, columns, image_column="sample.image.bites", label_column="sample.meta.label")


CUBE = np.arange(2 * 3 * 3).reshape(2, 3, 3)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.list_(pa.uint8()))),
        pa.large_list(pa.list_(pa.list_(pa.int64()))),
        pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 3), 2),
        pa.list_(pa.list_(pa.list_(pa.uint16(), 3))),
        pa.list_(pa.list_(pa.list_(pa.float32()))),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [[], [2, 3, 3]])
def test_nested_lists_have_a_shape(tmp_path: Path, kind: pa.DataType, shape: list[int]) -> None:
    pictures = pa.array([CUBE.tolist(), None, (CUBE + 1).tolist()], kind)
    _, loaded = rows_of(tmp_path, {"image": pictures, "label": [0, 1, 0]}, pixel_shape=shape)
    assert np.array_equal(loaded[0], CUBE)
    assert loaded[1] == "missing_image: the image is null"
    assert np.array_equal(loaded[2], CUBE + 1)


def test_nested_lists_that_are_no_picture(tmp_path: Path) -> None:
    pictures = pa.array(
        [[[1, 2], [3, 4]], [[1, 2], [3]], [[1, 2], None], [], [[1, 2, 3]]], pa.list_(pa.list_(pa.uint8()))
    )
    columns = {"image": pictures, "label": [0, 1, 0, 1, 0]}
    _, loaded = rows_of(tmp_path, columns)
    unequal = "wrong_channels: lists of unequal lengths, or empty ones"
    assert loaded[0].tolist() == [[1, 2], [3, 4]]
    assert loaded[1:4] == [unequal] * 3
    assert loaded[4].tolist() == [[1, 2, 3]]
    _, loaded = rows_of(tmp_path, columns, pixel_shape=[2, 2])
    assert loaded[4] == "wrong_channels: lists of [1, 3]; data.pixel_shape is [2, 2]"


def test_a_tensor_of_arrows_is_a_list(tmp_path: Path) -> None:
    storage = pa.array([CUBE.ravel().tolist(), CUBE.ravel().tolist()], pa.list_(pa.uint8(), 18))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), [2, 3, 3]), storage)
    _, loaded = rows_of(tmp_path, {"image": tensor, "label": [0, 1]}, pixel_shape=[2, 3, 3])
    assert np.array_equal(loaded[1], CUBE)


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary(18), pa.binary_view()], ids=str)
def test_raw_bytes_are_pixels_with_a_shape(tmp_path: Path, kind: pa.DataType) -> None:
    raw = CUBE.astype(np.uint8).tobytes()
    columns = {"image": pa.array([raw, raw], kind), "label": [0, 1]}
    _, loaded = rows_of(tmp_path, columns, pixel_shape=[2, 3, 3])
    assert np.array_equal(loaded[1], CUBE)
    _, loaded = rows_of(tmp_path, columns, pixel_shape=[2, 3])
    assert loaded[0] == (
        "wrong_channels: 18 bytes; data.pixel_shape [2, 3] takes 6, one for each number; "
        "remove it where these are encoded images"
    )
    assert rows_of(tmp_path, columns)[1] == [raw, raw]


def test_channels_come_last_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.pixel_shape = \[3, 16, 16\]; channels, 1, 3 or 4 of them, come last"):
        config_for(tmp_path, pixel_shape=[3, 16, 16])


@pytest.mark.parametrize(
    ("labels", "names", "order"),
    [
        (pa.array([10.0, None, 9.0, float("nan")]), ["10", None, "9", None], ["9", "10"]),
        (pa.array([10, 9, 9, 9], pa.float32()), ["10", "9", "9", "9"], ["9", "10"]),
        (
            pa.array([Decimal(10), None, Decimal(9), Decimal(9)], pa.decimal128(10, 0)),
            ["10", None, "9", "9"],
            ["9", "10"],
        ),
        (pa.array([Decimal("10.00"), Decimal("9.00")] * 2, pa.decimal128(10, 2)), ["10", "9"] * 2, ["9", "10"]),
        (pa.array([True, None, False, True]), ["true", None, "false", "true"], ["false", "true"]),
        (pa.array(["b", "", "a", None]).dictionary_encode(), ["b", None, "a", None], ["a", "b"]),
    ],
)
def test_labels_of_all_types(tmp_path: Path, labels: pa.Array, names: list[Any], order: list[str]) -> None:
    rows, _ = rows_of(tmp_path, {"image": [b"x"] * len(labels), "label": labels})
    assert rows["class_name"].to_pylist() == names
    assert rows["reason"].to_pylist() == [None if name else "missing_label" for name in names]
    kind = column_types(pa.schema([("label", labels.type)]))["label"]
    assert sort_classes({name for name in names if name}, kind) == order


def test_labels_that_are_no_whole_numbers_are_told(tmp_path: Path) -> None:
    rows, _ = rows_of(tmp_path, {"image": [b"x"] * 4, "label": [1.0, 2.5, -1.0, float("inf")]})
    wrong, negative = "the label is no whole number", "the label is negative"
    assert rows["detail"].to_pylist() == [None, wrong, negative, wrong]


def test_a_struct_of_many_fields_is_named_by_the_first() -> None:
    assert plain_type(pa.struct([(f"c{number}", pa.int8()) for number in range(1000)])).endswith(", c18, c19, ...")


@pytest.mark.parametrize("twice", ["label", "other"])
def test_two_columns_of_one_name(tmp_path: Path, twice: str) -> None:
    table = pa.Table.from_arrays([pa.array(BYTES), *[pa.array([1, 2, 1])] * 3], names=["image", "label", "x", twice])
    table = table.rename_columns(["image", "label", "label" if twice == "label" else "other", twice])
    pq.write_table(table, tmp_path / "x.parquet")
    config = config_for(tmp_path)
    if twice == "label":
        with pytest.raises(DataError, match=r"data.label_column: the table has several columns 'label'; rename"):
            records.list_source(config.data, config.missing)
    else:
        listing = records.list_source(config.data, config.missing)
        (rows,) = table_rows.read_pieces(config.data, config.missing, listing, 10)
        assert rows["class_name"].to_pylist() == ["1", "2", "1"]
