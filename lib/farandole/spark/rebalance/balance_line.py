"""What balancing did to each class, in one line."""

from collections.abc import Mapping

from farandole.config.layout import Balance
from farandole.log import first_few

MAX_NAMED = 20
"""Classes that the line names."""


def balance_line(rules: Balance, before: Mapping[str, int], after: Mapping[str, int]) -> str | None:
    """None where no class of the train split has other rows than before.

    Args:
        rules: by which it was balanced.
        before: rows of each class.
        after: the same, balanced.
    """
    if dict(before) == dict(after):
        return None
    by_size = sorted(before, key=lambda name: -before[name])
    counts = [f"{name!r} {before[name]}" + (f" -> {after[name]}" * (before[name] != after[name])) for name in by_size]
    num_dropped = sum(max(before[name] - after[name], 0) for name in before)
    is_short = rules.strategy == "oversample" and min(after.values()) < max(after.values())
    return (
        f"rebalance: {rules.strategy}: {sum(before.values())} train rows -> {sum(after.values())}: "
        f"{first_few(counts, MAX_NAMED)}"
        f"{f'; {num_dropped} train rows are left out' if num_dropped else ''}"
        f"{f'; no image more than balance.max_repeats = {rules.max_repeats} times' if is_short else ''}"
    )
