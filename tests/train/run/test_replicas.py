"""Ranks with other weights are found and named."""

import numpy as np
import pytest

from farandole.errors import RankError
from farandole.train.run import replicas
from farandole.train.run.replicas import checksum, compare_replicas


class Variable:
    def __init__(self, values: object) -> None:
        self.values = np.array(values, np.float32)

    def numpy(self) -> np.ndarray:
        return self.values


def compare(monkeypatch: pytest.MonkeyPatch, *ranks: float) -> None:
    """As the last of these ranks, each of which holds one number."""
    found = np.array([[checksum([Variable([1, 2]), Variable(rank)])] for rank in ranks])
    monkeypatch.setattr(replicas, "gather_integers", lambda own, name: found if own == found[-1] else None)
    compare_replicas([Variable([1, 2]), Variable(ranks[-1])], 70)


@pytest.mark.parametrize(
    ("ranks", "odd"),
    [([5, 5, 6], "2 of 3"), ([6, 5, 5], "0 of 3"), ([5, 6], "1 of 2"), ([5, 6, 6, 5], "1, 2 of 4"),
     ([5, 1, 2, 3, 4, 7, 8, 9], "1, 2, 3, 4, 5 and others of 8"), ([0.0, -0.0, 0.0], "1 of 3")],
)  # fmt: skip
def test_the_odd_rank_is_named(monkeypatch: pytest.MonkeyPatch, ranks: list[float], odd: str) -> None:
    with pytest.raises(RankError, match=f"after step 70 of the run rank {odd} ranks holds other weights than the rest"):
        compare(monkeypatch, *ranks)


def test_equal_weights_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, 5)
    compare(monkeypatch, 5, 5, 5)


def test_one_bit_or_another_order_is_another_checksum() -> None:
    one, two = Variable([1, 2]), Variable([3])
    assert checksum([one, two]) != checksum([two, one])
    assert checksum([Variable(np.nextafter(np.float32(1), np.float32(2)))]) != checksum([Variable(1)])
    assert -(2**63) <= checksum([one]) < 2**63
