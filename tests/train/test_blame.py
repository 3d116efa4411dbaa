"""Who is told to have brought NaN into a sum, and in which words."""

import numpy as np
import pytest

from balanced_data import write_balanced
from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.rank_spec import World
from farandole.errors import DataError, OtherRankError
from farandole.train import blame as blame_module
from farandole.train.blame import Where, blame
from farandole.train.rank import describe_failure
from farandole.train.run.checkpoint import Position

WHERE = Where(Position(epoch=2, step=3, global_step=45), 0.1)
SECOND_OF_THREE = World(1, 3, 1, 3, 0, 1)


class Step:
    """In place of TrainStep."""

    def __init__(self, losses, gradients_are_finite=True):
        self.found = np.array(losses, np.float32), gradients_are_finite

    def alone(self, values):
        assert len(values["image"]) == len(self.found[0]) > 0
        return self.found


@pytest.fixture
def files(tmp_path):
    return SplitFiles(tmp_path, write_balanced(tmp_path, train=[[2, 2], [2, 2]]), "train")


def found_by(monkeypatch, files, step, rows, others):
    """The error of the second of three ranks, whose others are to blame or not."""
    told = []

    def gather(values, name):
        told.append(values.tolist())
        return np.array([[others[0]], values, [others[1]]])

    monkeypatch.setattr(blame_module, "gather_integers", gather)
    batch = Batch(
        {"image": np.zeros((len(rows), 2, 2, 1), np.uint8)}, np.zeros(len(rows), np.uint64),
        np.zeros(len(rows), np.int32), np.array(rows, np.int64),
    )  # fmt: skip
    error = blame(step, batch, files, SECOND_OF_THREE, WHERE)
    assert str(error).startswith("NaN or Inf at epoch 2, step 3 (step 45 of the run): ")
    assert str(error).endswith("lower train.learning_rate, 0.1 now, or set train.clip_norm")
    return error, told[0][0]


def test_the_row_whose_loss_is_not_finite_is_found(monkeypatch, files):
    error, told = found_by(monkeypatch, files, Step([0.5, np.inf, np.nan]), [0, 5, 6], [0, 0])
    assert (type(error), told) == (DataError, 1)
    assert "run): the loss of 2 of 3 rows, the first in part-00001.parquet, row group 0, is inf; all ranks" in str(
        error
    )


def test_a_gradient_alone_can_be_at_fault(monkeypatch, files):
    error, told = found_by(monkeypatch, files, Step([0.5] * 4, False), [7, 1, 3, 5], [1, 0])
    assert (type(error), told) == (DataError, 1)
    assert (
        "run): the losses of 4 rows are finite, their gradient is not; they are in part-00000.parquet, row group 0; "
        "part-00000.parquet, row group 1; part-00001.parquet, row group 0 and 1 more row groups "
        "(one of ranks 0, 1 of 3); all ranks stopped"
    ) in str(error)


@pytest.mark.parametrize("rows", [[], [1]])
def test_a_rank_that_is_not_to_blame_names_the_other_and_is_not_the_one_to_show(monkeypatch, files, rows):
    error, told = found_by(monkeypatch, files, Step([0.5]), rows, [0, 1])
    assert (type(error), told) == (OtherRankError, 0)
    assert "run): from rank 2 of 3; all ranks stopped there" in str(error)
    assert describe_failure(error).lost_peer
    assert describe_failure(error).exit_code == 3


def test_a_sum_can_overflow_though_its_parts_do_not(monkeypatch, files):
    error, _ = found_by(monkeypatch, files, Step([3e38]), [1], [0, 0])
    assert type(error) is DataError
    assert "run): no rank finds it in its own rows, computed alone" in str(error)
    assert not describe_failure(error).lost_peer
