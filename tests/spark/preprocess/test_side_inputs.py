"""Kept columns as inputs of a model: their statistics are exact, and none of their values is missing."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.data import Inputs
from farandole.config.load import Config, parse_config
from farandole.core.batches.reader import SplitFiles, read_rows
from farandole.core.dataset.manifest import Stats
from farandole.core.dataset.sample import Feature
from farandole.errors import ConfigError, DataError
from farandole.spark.preprocess.side_inputs import Moments, moments_of, stats_of
from stage_runs import run_preprocess, run_rebalance

NUMBERS = {
    "heat": pa.array([1.5, None, 2.5, math.nan, -4.0, 0.1, 7.0, 1e6]),
    "floor": pa.array([3, 1, 2, 2**40, 5, 6, 7, 8], pa.int64()),
    "is_open": pa.array([True, False] * 4),
    "town": pa.array(list("abcdefgh")),
}


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def config_for(tmp_path: Path, inputs: list[str], rules: dict[str, Any], **columns: Any) -> Config:
    raw = {"image": [png(seed) for seed in range(8)], "label": list("abababab"), "id": list(range(8))}
    (tmp_path / "raw").mkdir(exist_ok=True)
    pq.write_table(pa.table({**raw, **NUMBERS, **columns}), tmp_path / "raw" / "x.parquet")
    source = {"source": "table", "path": str(tmp_path / "raw"), "id_column": "id", "keep_columns": [*NUMBERS]}
    return parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "data": source,
            "image": {"height": 4, "width": 4},
            "sample": {"inputs": ["image", *inputs]},
            "split": {"val_fraction": 0.0, "test_fraction": 0.0},
            "missing": {"columns": rules},
            "layout": {"num_files": 2},
        }
    )


def test_numbers_and_booleans_reach_the_batches_as_float32(spark: SparkSession, tmp_path: Path) -> None:
    filled = {"heat": {"policy": "fill", "value": 0.5}}
    config = config_for(tmp_path, ["is_open", "heat", "floor"], filled)
    clean = run_preprocess(spark, config)
    wanted = {
        "heat": np.array([1.5, 0.5, 2.5, 0.5, -4.0, 0.1, 7.0, 1e6], np.float32),
        "floor": np.array([3, 1, 2, 2**40, 5, 6, 7, 8], np.float32),
        "is_open": np.array([1, 0] * 4, np.float32),
    }
    assert clean.sample.inputs == ["image", "is_open", "heat", "floor"]
    assert all(clean.sample.features[name] == Feature(dtype="float32") for name in wanted)
    for name, values in wanted.items():
        found = clean.stats[name]
        assert found.mean[0] == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
        assert found.std[0] == pytest.approx(values.std(dtype=np.float64), rel=1e-12)
    balanced = run_rebalance(spark, config, clean)
    assert balanced.stats == clean.stats
    for folder, manifest in (("clean", clean), ("balanced", balanced)):
        files = SplitFiles(config.work / folder, manifest, "train")
        (batch,) = read_rows(files, 0, 8, 8)
        ids = [int(files.row(row)[0]) for row in range(8)]
        for name, values in wanted.items():
            assert batch.values[name].dtype == np.float32
            np.testing.assert_array_equal(batch.values[name], values[ids])


@pytest.mark.parametrize(
    ("rules", "value", "counts"),
    [({}, 0.0, "2 of 8 in train"), ({"heat": {"policy": "drop"}}, math.inf, "1 of 6 in train")],
)
def test_rows_without_a_number_are_refused_with_the_remedy(
    spark: SparkSession, tmp_path: Path, rules: dict[str, Any], value: float, counts: str
) -> None:
    heat = pa.array([value, None, 2.5, math.nan, -4.0, 0.1, 7.0, 1.0])
    with pytest.raises(
        DataError, match=rf"column 'heat' has rows without a finite number: {counts}; set missing.columns.heat.policy"
    ):
        run_preprocess(spark, config_for(tmp_path, ["heat"], rules, heat=heat))


def test_text_is_refused_before_pictures_are_decoded(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sample.inputs: column 'town' holds string; an input holds numbers"):
        run_preprocess(spark, config_for(tmp_path, ["town"], {}))


def test_equal_pictures_with_other_numbers_are_kept(spark: SparkSession, tmp_path: Path) -> None:
    """Of one picture: 0 and 4 are equal, 1 has another number and label, 2 and 3 have one number and two labels."""
    same = {"image": [png(0)] * 5 + [png(5), png(6), png(7)], "label": list("abab") + list("aabb")}
    heat = pa.array([0.0, 1.0, 2.0, 2.0, -0.0, 0.0, 0.0, 0.0])
    clean = run_preprocess(spark, config_for(tmp_path, ["heat"], {}, heat=heat, **same))
    assert (clean.splits["train"].num_rows, clean.deduplicated_rows) == (5, 1)
    assert clean.quarantine == {"conflicting_label": 2}


def test_other_inputs_decode_no_picture_again(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filled = {"heat": {"policy": "fill", "value": 0.5}}
    config = config_for(tmp_path, [], filled)
    run_preprocess(spark, config)
    clean = run_preprocess(spark, config.model_copy(update={"sample": Inputs(inputs=["image", "heat"])}))
    assert clean.sample.inputs == ["image", "heat"]
    assert "reused 8 of 8 pictures" in capfd.readouterr().err


NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(NUMBER, min_size=1, max_size=40), st.integers(0, 40))
def test_statistics_do_not_depend_on_how_rows_are_cut(values: list[float], cut: int) -> None:
    def moments(part: list[float]) -> Moments:
        return moments_of(pa.chunked_array([pa.array(part, pa.float64())]))

    whole, parts = [moments(values)], [moments(values[:cut]), moments(values[cut:])]
    found = stats_of("x", {"train": parts, "val": [], "test": []})
    assert found == stats_of("x", {"train": whole, "val": [], "test": []})
    assert found.mean[0] == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-300)


def test_equal_values_have_no_deviation() -> None:
    tenth = moments_of(pa.chunked_array([pa.array([0.1] * 7)]))
    found = stats_of("x", {"train": [tenth], "val": [], "test": []})
    assert found == Stats(mean=[float(np.float32(0.1))], std=[0.0])
