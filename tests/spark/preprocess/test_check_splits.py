"""What is refused by counts alone."""

import re

import numpy as np
import pytest

from farandole.config.data import Split
from farandole.core.dataset.schema import SPLITS
from farandole.errors import DataError
from farandole.spark.preprocess.check_splits import check_splits
from farandole.spark.preprocess.place_parts import PartCounts, SplitCounts
from farandole.spark.source.records import Source


def check(train: list[int], val: list[int], test: list[int], names: str = "cat dog owl", **rules: int) -> None:
    counts = {
        name: SplitCounts(np.array(rows, np.int64), 0, [], [], {})
        for name, rows in zip(SPLITS, (train, val, test), strict=True)
    }
    source = Source(
        class_names=names.split(),
        given=frozenset(),
        num_parts=1,
        input_rows=9,
        num_files=1,
        side_columns={},
        read=lambda *_: iter([]),
    )
    check_splits(Split(**rules), source, [PartCounts(counts, {"blank": 2}, {}, 0)])


def test_a_row_of_every_class_is_enough() -> None:
    check([1, 1, 1], [1, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    ("counts", "names", "rules", "said"),
    [
        (([], [], []), "", {}, "none of 9 records is usable: 2 blank"),
        (
            ([5], [2], [0]),
            "dog",
            {},
            "only one class has usable images: 'dog' with 7, out of 9 records; training needs",
        ),
        (([0, 0], [1, 2], [4, 0]), "a b", {}, "the train split is empty: 3 rows were given as val and 4 as test; add"),
        (
            ([1, 1, 0], [0, 0, 2], [0, 0, 3]),
            "cat dog owl",
            {},
            "1 classes have rows that were given as val or test, but none in train: 'owl' (2 in val, 3 in test); add",
        ),
        (
            ([5, 2, 1], [0, 0, 1], [0, 0, 1]),
            "cat dog owl",
            {"min_rows_per_class": 4},
            "2 classes have fewer rows than split.min_rows_per_class = 4: 'dog' 2, 'owl' 3; add images, remove the",
        ),
    ],
)
def test_what_nothing_can_be_trained_on_is_refused(
    counts: tuple[list[int], list[int], list[int]], names: str, rules: dict[str, int], said: str
) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        check(*counts, names, **rules)
