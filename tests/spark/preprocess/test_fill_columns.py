"""No digit is lost between a table and what is filled in: along 64-bit orders, of 64-bit values, and in dates."""

import datetime
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.data import Missing
from farandole.config.load import parse_config
from farandole.core.dataset.manifest import Fill
from farandole.spark.preprocess.clean import _interpolate_columns
from farandole.spark.preprocess.fill_columns import fill_columns
from farandole.spark.preprocess.reuse import OldPictures
from farandole.spark.preprocess.stage_parts import stage_parts
from farandole.spark.source import records
from farandole.spark.source.table import files as table_files
from farandole.spark.source.table import rows as table_rows

SINCE_1970 = 1_700_000_000_000_000_000


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def filled(
    spark: SparkSession, tmp_path: Path, values: pa.Array, orders: pa.Array, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    monkeypatch.setattr(table_files, "ROWS_PER_PART", 7)
    (tmp_path / "raw").mkdir()
    columns = {"image": [png(seed) for seed in range(len(values))], "label": list("ab" * len(values))[: len(values)]}
    pq.write_table(pa.table(columns | {"v": values, "t": orders}), tmp_path / "raw/x.parquet")
    config = parse_config(
        {
            "data": {"source": "table", "path": str(tmp_path / "raw"), "keep_columns": ["v"]},
            "missing": {"columns": {"v": {"policy": "interpolate", "order_by": "t"}}},
            "image": {"height": 4, "width": 4},
        }
    )
    listing, staging = records.list_source(config.data, config.missing), tmp_path / "staging"
    staging.mkdir()
    source = records.prepare(spark, config.data, config.missing, config.image, listing, staging)
    stage_parts(spark, config.missing, config.split, config.image, source, OldPictures([]), staging)
    _interpolate_columns(spark, config.missing, source, staging)
    fill = {"v": Fill(policy="interpolate", statistic="", value=0)}
    parts = [records.Part(staging, number, source) for number in range(source.num_parts)]
    return [value for part in parts for value in fill_columns(part, part.read("parts"), fill)["v"].to_pylist()]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.timestamp("ns"), pa.timestamp("us")])
def test_orders_of_64_bits_lose_no_digits(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = 2**63 + 7 if kind == pa.uint64() else SINCE_1970
    orders = pa.array([start + 50 * row for row in range(21)], pa.int64() if pa.types.is_timestamp(kind) else kind)
    values = pa.array([None if row % 3 == 1 else float(row) for row in range(21)])
    assert filled(spark, tmp_path, values, orders.cast(kind), monkeypatch) == [float(row) for row in range(21)]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_values_of_64_bits_lose_no_digits(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = 2**63 + 7 if kind == pa.uint64() else SINCE_1970 + 1
    rows = [None if row in (0, 4, 5, 9) else start + row for row in range(10)]
    found = filled(spark, tmp_path, pa.array(rows, kind), pa.array([float(row) for row in range(10)]), monkeypatch)
    assert found == [start + max(1, min(row, 8)) for row in range(10)]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_far_away_are_kept_as_they_are(tmp_path: Path, zone: str | None) -> None:
    utc = datetime.UTC if zone else None
    days = [datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=utc), datetime.datetime(1600, 1, 1, tzinfo=utc)]
    days += [datetime.datetime(1, 1, 1, tzinfo=utc), datetime.datetime(2024, 5, 1, 12, tzinfo=utc), None]
    columns = {"image": [b"x"] * 5, "label": [1] * 5, "until": pa.array(days, pa.timestamp("us", zone))}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", use_deprecated_int96_timestamps=True)
    data = parse_config({"data": {"source": "table", "path": str(tmp_path), "keep_columns": ["until"]}}).data
    pieces = records.list_source(data, Missing())
    found = pa.concat_tables(table_rows.read_pieces(data, Missing(), pieces, 100))["side:until"].to_pylist()
    assert [day.replace(tzinfo=None) if day else None for day in found] == [
        day.replace(tzinfo=None) if day else None for day in days
    ]


def test_dates_that_microseconds_do_not_hold_are_refused(tmp_path: Path) -> None:
    days = pa.array([2**62, 0], pa.timestamp("ms"))
    pq.write_table(pa.table({"image": [b"x"] * 2, "label": [1, 2], "until": days}), tmp_path / "x.parquet")
    data = parse_config({"data": {"source": "table", "path": str(tmp_path), "keep_columns": ["until"]}}).data
    pieces = records.list_source(data, Missing())
    with pytest.raises(table_files.DataError, match=r"x.parquet: column 'until' .*out of bounds.*; mend or leave out"):
        list(table_rows.read_pieces(data, Missing(), pieces, 100))
