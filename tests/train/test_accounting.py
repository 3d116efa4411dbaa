"""A receipt notices every row that is lost, repeated or exchanged, and says where."""

from dataclasses import replace

import numpy as np
import pytest

from balanced_data import write_balanced
from farandole.core.batches.reader import SplitFiles, concatenate, read_rows
from farandole.core.plan.epoch_plan import plan_epoch
from farandole.errors import DataError
from farandole.train.accounting import Accounting, check_receipt, receipt


@pytest.fixture
def data(tmp_path):
    manifest = write_balanced(tmp_path, train=[[5, 6], [7]])
    files = SplitFiles(tmp_path, manifest, "train")
    plan = plan_epoch(manifest, epoch=2, seed=0, global_batch_size=4)
    return manifest, files, plan, concatenate(list(read_rows(files, 0, 18, 18)))


def check(data, batches):
    manifest, files, plan, _ = data
    total = Accounting.zero(manifest)
    for batch in batches:
        part = Accounting.zero(manifest)  # as another rank would count, summed as Horovod would
        part.add(batch, files)
        total = Accounting.from_array(total.to_array() + part.to_array(), manifest)
    line = receipt(total, plan, manifest)
    check_receipt(line, total, manifest, files)
    return line


def test_the_whole_epoch_in_any_order_is_accepted(data):
    rows = np.random.default_rng(0).permutation(18)
    line = check(data, [data[3].take(rows[:7]), data[3].take(rows[7:])])
    assert line["rows_planned"] == line["rows_trained"] == 18
    assert sum(line["per_class"].values()) == 18


def test_one_rank_adds_up_its_own_batches(data):
    manifest, files, plan, whole = data
    total = Accounting.zero(manifest)
    for first in range(0, 18, 4):
        total.add(whole.take(slice(first, first + 4)), files)
    check_receipt(receipt(total, plan, manifest), total, manifest, files)
    assert total.checksum == int(manifest.splits["train"].id_checksum, 16)


def test_a_lost_row_is_placed(data):
    with pytest.raises(
        DataError, match=r"epoch 2: 18 rows planned, 17 trained; .*part-00001.parquet, row group 0: 7 pl"
    ):
        check(data, [data[3].take(slice(0, 17))])


def test_a_row_twice_instead_of_another_is_noticed(data):
    labels = data[3].values["label"][:11].tolist()
    one, other = next((i, j) for i in range(5) for j in range(i) if labels[i] == labels[j])
    rows = np.arange(18)
    rows[one] = other  # of the same class and row group: all counts are right, the checksum is not
    with pytest.raises(DataError, match=r"all 18 rows were trained, but the checksum of their ids is"):
        check(data, [data[3].take(rows)])


def test_exchanged_labels_are_noticed(data):
    labels = (data[3].values["label"] + 1) % 3
    with pytest.raises(
        DataError, match=r"but by class they are \{'ant': \d+, .*: a file holds other labels than it did"
    ):
        check(data, [replace(data[3], values=data[3].values | {"label": labels})])
