"""A data set says what a row holds, and readers take any features from it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from manifests import make_manifest, sample_of, split_entry
from pydantic import ValidationError

from farandole.core.batches.reader import SplitFiles, concatenate, read_rows
from farandole.core.batches.slice_reader import read_slice
from farandole.core.dataset.manifest import Stats
from farandole.core.dataset.parquet import write_rows
from farandole.core.dataset.sample import Feature, Sample
from farandole.core.dataset.schema import BALANCED
from farandole.core.plan.epoch_plan import plan_epoch, slice_for

NUM_ROWS = 41
WINDOW = Feature(dtype="float32", shape=[3, 2])
SAMPLE = Sample(
    features={"image": Feature(dtype="uint8", shape=[4, 4, 1]), "label": Feature(dtype="int32"), "window": WINDOW,
              "weight": Feature(dtype="float32")},
    inputs=["image", "window"], targets=["label"], class_names=["ant", "bee"],
)  # fmt: skip


def test_what_rows_take_is_that_of_their_large_features():
    assert [one.stored for one in SAMPLE.features.values()] == ["raw", "value", "raw", "value"]
    assert [one.num_bytes for one in SAMPLE.features.values()] == [16, 4, 24, 4]
    assert (list(SAMPLE.large), SAMPLE.num_bytes, SAMPLE.is_raw) == (["image", "window"], 40, True)
    assert (sample_of(8, 8, 3, encoding="jpeg").is_raw, sample_of(8, 8, 3, encoding="jpeg").num_bytes) == (False, 192)
    assert str(SAMPLE) == "image uint8 4x4x1, window float32 3x2 and label of ant, bee"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ["picture"]}, r"inputs \['picture'\] and targets \['label'\] are not all among features"),
        ({"inputs": []}, r"inputs \[\]"),
        ({"targets": []}, r"targets \[\]"),
        ({"targets": ["weight"]}, "target 'weight' holds no classes"),
        ({"features": {"image": {"dtype": "float16"}}}, "Input should be 'uint8'"),
        ({"features": {"image": {"dtype": "float32", "shape": [3], "encoding": "jpeg"}}}, "jpeg holds uint8"),
        ({"surprise": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Sample.model_validate({**SAMPLE.model_dump(), **change})


def test_a_model_does_not_care_how_files_have_its_features():
    raw = sample_of(8, 8, 3)
    assert raw.is_like(sample_of(8, 8, 3, encoding="jpeg"))
    assert not raw.is_like(sample_of(8, 9, 3))
    assert not raw.is_like(sample_of(8, 8, 3, class_names=["ant", "cat", "bee"]))


@pytest.fixture
def data(tmp_path: Path):
    """Two files of rows that have a picture and a window of a series, and what is in them."""
    rng = np.random.default_rng(0)
    expected = {
        "image": rng.integers(0, 256, (NUM_ROWS, 4, 4, 1), np.uint8),
        "label": rng.integers(0, 2, NUM_ROWS).astype(np.int32),
        "window": rng.normal(size=(NUM_ROWS, 3, 2)).astype(np.float32),
        "weight": rng.normal(size=NUM_ROWS).astype(np.float32),
    }
    own = [pa.field("window", pa.binary(), nullable=False), pa.field("weight", pa.float32(), nullable=False)]
    schema = pa.schema([*BALANCED, *own])
    columns = {
        "id": [f"r{row}" for row in range(NUM_ROWS)],
        "content_hash": pa.array(np.zeros(NUM_ROWS), pa.int64()),
        "copy": pa.array(np.zeros(NUM_ROWS), pa.int32()),
        "row": pa.array(np.arange(NUM_ROWS), pa.int64()),
        **{name: [one.tobytes() for one in values] if values.ndim > 1 else values for name, values in expected.items()},
    }
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    parts = [[table.slice(0, 11), table.slice(11, 9)], [table.slice(20, 8), table.slice(28)]]
    entries = [
        write_rows(tmp_path, f"data/split=train/part-{number:05d}.parquet", schema, groups, SAMPLE)
        for number, groups in enumerate(parts)
    ]
    counts = dict(zip(["ant", "bee"], np.bincount(expected["label"]).tolist(), strict=True))
    stats = {name: Stats(mean=[0.0], std=[1.0]) for name in SAMPLE.inputs}
    manifest = make_manifest({"train": split_entry(counts, entries)}, stage="rebalance", sample=SAMPLE, stats=stats)
    return tmp_path, manifest, expected


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("through", ["pages", "arrow"])
def test_any_features_are_read_in_the_same_order_by_any_number_of_ranks(data, monkeypatch, world_size, through):
    root, manifest, expected = data
    plan, seen = plan_epoch(manifest, epoch=0, seed=3, global_batch_size=6), []
    for rank in range(world_size):
        files = SplitFiles(root, manifest, "train")
        for pages in files._pages.values() if through == "arrow" else ():
            monkeypatch.setattr(pages, "read", lambda *_: None)
        for batch in read_slice(files, slice_for(plan, rank, world_size)):
            assert list(batch.values) == list(SAMPLE.features)
            for name, values in batch.values.items():
                assert values.dtype == SAMPLE.features[name].dtype
                assert np.array_equal(values, expected[name][batch.rows])
            seen += batch.rows.tolist()
    assert sorted(seen) == list(range(NUM_ROWS))


def test_they_are_read_in_the_order_of_the_files_too(data):
    root, manifest, expected = data
    whole = concatenate(list(read_rows(SplitFiles(root, manifest, "train"), 0, NUM_ROWS, 7)))
    for name, values in whole.values.items():
        assert np.array_equal(values, expected[name])
