"""Images that are appended by part and taken from anywhere."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from farandole.errors import DataError
from farandole.spark.preprocess import staged_images
from farandole.spark.preprocess.staged_images import ImageFile, StagedImages

SIZES = ((3, 1, 4), (), (2,), (0, 5))
"""Of the batches of four files."""


def write(staging: Path) -> tuple[list[bytes], np.ndarray]:
    """Images, and int64 [3, n] where they are."""
    staging.mkdir(exist_ok=True)
    images: list[bytes] = []
    places = []
    for number, sizes in enumerate(SIZES):
        with ImageFile(staging) as file:
            for size in sizes:
                batch = [f"{number}-{len(images) + row}".encode() * (row % 3) for row in range(size)]
                places.append(np.stack(list(file.append(batch).values())))
                images += batch
    return images, np.concatenate(places, axis=1)


@pytest.mark.parametrize("max_open", [1, 100])
def test_any_rows_in_any_order(tmp_path, monkeypatch, max_open):
    monkeypatch.setattr(staged_images, "MAX_OPEN_FILES", max_open)
    images, places = write(tmp_path / "staging")
    staged, rng = StagedImages(tmp_path / "staging"), np.random.default_rng(1)
    for size in (1, 6, len(images)):
        rows = rng.permutation(len(images))[:size]
        taken = staged.take(*places[:, rows])
        taken.validate(full=True)
        assert (taken.type, taken.to_pylist()) == (pa.binary(), [images[row] for row in rows])
        assert len(staged._open) <= max_open


def test_two_tries_of_a_task_leave_rows_that_fit_their_images(tmp_path):
    with ImageFile(tmp_path) as one, ImageFile(tmp_path) as other:
        rows, others = one.append([b"abc", b"d"]), other.append([b"x", b"yz"])
    staged = StagedImages(tmp_path)
    assert staged.take(*rows.values()).to_pylist() == [b"abc", b"d"]
    assert staged.take(*others.values()).to_pylist() == [b"x", b"yz"]


def test_reads_that_give_less_are_continued_and_a_file_that_was_cut_is_named(tmp_path, monkeypatch):
    images, places = write(tmp_path)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: whole(file, [buffers[0][:2]], at))
    assert StagedImages(tmp_path).take(*places).to_pylist() == images
    path = tmp_path / "images" / f"{places[0, -1]}.bin"
    os.truncate(path, path.stat().st_size - 1)
    match = rf"{path} ends at byte {path.stat().st_size}, before an image does; run preprocess again"
    with pytest.raises(DataError, match=match):
        StagedImages(tmp_path).take(*places)
