"""What became of each class, in one line where balancing changed it."""

from typing import Any

import pytest

from farandole.config.layout import Balance
from farandole.core.plan.balance import plan_balance
from farandole.spark.rebalance.balance_line import balance_line


def line(before: dict[str, int], **rules: Any) -> str | None:
    balance = Balance(**rules)
    plan = plan_balance(before, strategy=balance.strategy, max_repeats=balance.max_repeats)
    return balance_line(balance, before, plan.targets)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"strategy": "none"}, None),
        ({"strategy": "weights"}, None),
        (
            {"strategy": "oversample"},
            "oversample: 422 train rows -> 602: 'cat' 402, 'dog' 18 -> 180, 'ship' 2 -> 20; "
            "no image more than balance.max_repeats = 10 times",
        ),
        (
            {"strategy": "oversample", "max_repeats": 300},
            "oversample: 422 train rows -> 1206: 'cat' 402, 'dog' 18 -> 402, 'ship' 2 -> 402",
        ),
        (
            {"strategy": "undersample"},
            "undersample: 422 train rows -> 6: 'cat' 402 -> 2, 'dog' 18 -> 2, 'ship' 2; 416 train rows are left out",
        ),
    ],
)
def test_counts_of_classes(rules: dict[str, Any], said: str | None) -> None:
    found = line({"ship": 2, "cat": 402, "dog": 18}, **rules)
    assert found == (said and f"rebalance: {said}")


def test_many_classes_are_cut_short() -> None:
    found = line({f"class {number}": number for number in range(1, 31)}, strategy="undersample")
    assert found is not None
    assert found.endswith("'class 11' 11 -> 1, ...; 435 train rows are left out")
