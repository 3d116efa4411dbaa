"""Images that are written by part and taken from anywhere."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from farandole.spark import staged_images
from farandole.spark.staged_images import SCHEMA, StagedImages

SIZES = ((3, 1, 4), (), (2,), (0, 5))
"""Of the batches of four parts."""


def write(staging: Path) -> list[list[bytes]]:
    """By part and row."""
    staging.mkdir(exist_ok=True)
    written = []
    for part, sizes in enumerate(SIZES):
        images = [f"{part}-{row}".encode() * (row % 3) for row in range(sum(sizes))]
        with StagedImages(staging).writer(part) as writer:
            start = 0
            for size in sizes:
                writer.write_batch(pa.record_batch([pa.array(images[start : start + size], pa.binary())], SCHEMA))
                start += size
        written.append(images)
    return written


@pytest.mark.parametrize("max_open", [1, 100])
def test_any_rows_in_any_order(tmp_path, monkeypatch, max_open):
    monkeypatch.setattr(staged_images, "MAX_OPEN_PARTS", max_open)
    written = write(tmp_path / "staging")
    images = StagedImages(tmp_path / "staging")
    places = np.array([(part, row) for part, rows in enumerate(written) for row in range(len(rows))])
    rng = np.random.default_rng(1)
    for size in (1, 6, len(places)):
        parts, rows = places[rng.permutation(len(places))[:size]].T
        taken = images.take(parts, rows)
        assert taken.type == pa.binary()
        assert taken.to_pylist() == [written[part][row] for part, row in zip(parts, rows, strict=True)]


def test_a_part_appears_whole_or_not_at_all(tmp_path):
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    with pytest.raises(RuntimeError), StagedImages(tmp_path).writer(0):
        raise RuntimeError
    assert {name: (tmp_path / "images" / name).read_bytes() for name in before} == before
