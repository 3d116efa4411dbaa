"""petastorm under our accounting: the same rows, and a lost or repeated row group is an error."""

import contextlib

import numpy as np
import pytest

from balanced_data import write_balanced
from farandole.core.batches.reader import SplitFiles
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.errors import DataError
from farandole.train.input.import_petastorm import import_petastorm
from farandole.train.input.petastorm_reader import read_with_petastorm

petastorm = import_petastorm()


@pytest.fixture
def data(tmp_path):
    return tmp_path, write_balanced(tmp_path, train=[[7, 8], [8, 7, 7], [9]])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_row_once_with_the_planned_batch_sizes(data, world_size):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10)
    rows, expected = [], files.read(0)
    for rank in range(world_size):
        own = slice_for(plan, rank, world_size)
        batches = list(read_with_petastorm(files, own))
        assert [len(batch) for batch in batches] == [own.num_rows(step) for step in range(plan.num_steps)]
        rows += [row for batch in batches for row in batch.rows.tolist()]
        for batch in batches:
            for i in np.flatnonzero(batch.rows < 7):
                row = batch.rows[i]
                assert (batch.values["image"][i] == expected.values["image"][row]).all()
                assert batch.values["label"][i] == expected.values["label"][row]
                assert batch.id_hashes[i] == expected.id_hashes[row]
    assert sorted(rows) == list(range(46))


def test_a_lost_row_group_is_named(data, monkeypatch):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    make = petastorm.make_batch_reader

    @contextlib.contextmanager
    def lossy(*args, **kwargs):
        with make(*args, **kwargs) as reader:
            yield (item for item in reader if 15 not in item.row)

    monkeypatch.setattr(petastorm, "make_batch_reader", lossy)
    own = slice_for(plan_epoch(manifest, epoch=4, seed=0, global_batch_size=10), 0, 1)
    message = (
        r"epoch 4: 46 rows planned for rank 0, petastorm delivered 38; the first missing is row 15, in .*part-00001"
    )
    with pytest.raises(DataError, match=message):
        list(read_with_petastorm(files, own))


def test_pickled_metadata_is_refused(data):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    (files.paths[0].parent / "_common_metadata").write_bytes(b"cos\nsystem\n(S'touch /tmp/x'\ntR.")
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10), 0, 1)
    with pytest.raises(DataError, match="has a _common_metadata, which petastorm would unpickle; refused"):
        list(read_with_petastorm(files, own))


def test_starting_inside_an_epoch_is_refused(data):
    root, manifest = data
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10), 0, 1)
    with pytest.raises(DataError, match="cannot start at step 2 of an epoch"):
        list(read_with_petastorm(SplitFiles(root, manifest, "train"), own, start_step=2))


def test_paths_that_are_no_urls_are_refused(tmp_path):
    root = tmp_path / "a#b"
    root.mkdir()
    manifest = write_balanced(root, train=[[5]])
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=5), 0, 1)
    with pytest.raises(DataError, match=r"petastorm cannot read .*a#b.*use train.reader = .arrow."):
        list(read_with_petastorm(SplitFiles(root, manifest, "train"), own))


def test_a_repeated_row_group_is_named(data, monkeypatch):
    root, manifest = data
    make = petastorm.make_batch_reader

    @contextlib.contextmanager
    def stuttering(*args, **kwargs):
        with make(*args, **kwargs) as reader:
            yield (item for item in reader for _ in range(2 if 15 in item.row else 1))

    monkeypatch.setattr(petastorm, "make_batch_reader", stuttering)
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10), 0, 1)
    with pytest.raises(DataError, match=r"petastorm delivered row 15 twice, in .*part-00001.parquet, row group 0"):
        list(read_with_petastorm(SplitFiles(root, manifest, "train"), own))


def test_a_flipped_bit_is_found_although_petastorm_would_not(data):
    root, manifest = data
    files = SplitFiles(root, manifest, "train")
    content = bytearray(files.paths[1].read_bytes())
    content[200] ^= 1
    files.paths[1].write_bytes(bytes(content))
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=10), 0, 1)
    with pytest.raises(DataError, match=r"part-00001.parquet, row group 0: .*CRC.*; the file is damaged"):
        list(read_with_petastorm(files, own))
