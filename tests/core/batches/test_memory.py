"""What readers hold of large pictures, and how much they read, by the real planner and made-up manifests."""

from pathlib import Path

import numpy as np
import pytest
from manifests import count_labels, file_entry, make_manifest, sample_of, split_entry

from farandole.config.load import parse_config
from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.batches.slice_reader import check_batches, check_memory, read_slice
from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.core.plan.layout import rows_within
from farandole.errors import ResourceError

DEFAULTS = parse_config({}).train


def data_set(num_rows: int, side: int) -> Manifest:
    """As rebalance would write it with all defaults: about 64 MB a file, row groups as large as they may be."""
    row_bytes = side * side * 3
    rows = rows_within(parse_config({}).layout.rows_per_row_group, row_bytes)
    groups = [min(rows, num_rows - at) for at in range(0, num_rows, rows)]
    per_file = max(1, 64 * 1024**2 // (rows * row_bytes))
    files = [
        file_entry(groups[at : at + per_file], path=f"data/split=train/part-{at:06d}.parquet", row_bytes=row_bytes)
        for at in range(0, len(groups), per_file)
    ]
    counts = count_labels(np.arange(num_rows) % 2, ["cat", "dog"])
    return make_manifest({"train": split_entry(counts, files)}, stage="rebalance", image_shape=(side, side, 3))


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
@pytest.mark.parametrize(("num_rows", "side"), [(12_000, 224), (1_280_000, 224), (1_280_000, 32), (100_000, 96)])
def test_defaults_are_enough_for_any_number_of_ranks(num_rows: int, side: int, num_ranks: int) -> None:
    manifest = data_set(num_rows, side)
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=DEFAULTS.global_batch_size)
    for rank in range(num_ranks):
        assert check_memory(manifest, slice_for(plan, rank, num_ranks), DEFAULTS.reader_memory_bytes) > 0


@pytest.mark.parametrize(("side", "rows"), [(32, 256), (64, 256), (65, 248), (224, 20), (512, 4), (4096, 1)])
def test_row_groups_are_bounded_by_bytes(side: int, rows: int) -> None:
    assert rows_within(256, side * side * 3) == rows
    assert rows_within(3, side * side * 3) == min(3, rows)


def test_small_pictures_keep_their_windows() -> None:
    for side, rows in ((32, 16_384), (64, 16_384), (224, 1_280)):
        plan = plan_epoch(data_set(200_000, side), epoch=0, seed=0, global_batch_size=64)
        assert plan.num_streams * plan.window_rows == rows


def test_batches_that_cannot_fit_are_refused_before_there_is_data() -> None:
    def check(batch_rows: int) -> None:
        image = parse_config({"image": {"height": 512, "width": 512}}).image
        check_batches(image.num_bytes, batch_rows, DEFAULTS.reader_memory_bytes)

    check(64)
    with pytest.raises(
        ResourceError, match=r"keep.* ready take 1614807040 bytes \(256 images of 786432 bytes each\), t"
    ):
        check(256)


class CountedFiles(SplitFiles):
    """Of pictures of one pixel that are nowhere; it counts the row groups that are read."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(Path("nowhere"), manifest.model_copy(update={"sample": sample_of(1, 1, 1)}), "train")
        self.num_rows_read = 0

    def read(self, row_group: int) -> Batch:
        self.num_rows_read += int(self.sizes[row_group])
        batch = self.room(int(self.sizes[row_group]))
        batch.rows[:] = np.arange(self.starts[row_group], self.starts[row_group + 1])
        return batch


def amplification(num_rows: int, side: int, num_ranks: int) -> float:
    """How many times the data all ranks together read in their first epoch, which trains every row once."""
    manifest = data_set(num_rows, side)
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=64 * num_ranks)
    files, trained = CountedFiles(manifest), np.zeros(num_rows, np.int64)
    for rank in range(num_ranks):
        for batch in read_slice(files, slice_for(plan, rank, num_ranks)):
            trained[batch.rows] += 1
    assert (trained == 1).all()
    return files.num_rows_read / num_rows


@pytest.mark.parametrize(("num_rows", "side"), [(200_000, 32), (100_000, 224)])
def test_64_ranks_read_little_more_than_the_data(num_rows: int, side: int) -> None:
    assert amplification(num_rows, side, 64) <= 1.1
