"""Whether the files of clean/ will do as those of balanced/: what layout.rewrite = "auto" decides.

The manifest says how many rows stand where; how well classes are mixed is in the label columns alone. In training, row
groups come in a random order and their rows are shuffled, so what the order of the files still decides is which classes
stand together in a row group.
"""

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from farandole.config.layout import Layout
from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.balance import BalancePlan
from farandole.core.plan.layout import rows_within
from farandole.core.plan.rebalance_plan import RebalancePlan

MAX_FILE_SPREAD = 0.25
"""By what share of the mean the rows of a train file may differ from it. Rows come to their file of clean/ by a hash:
where a quarter of 2,048 records is in train, this is 5.6 standard deviations."""
MIN_FILE_BYTES = 4 * 1024 * 1024
"""How large train files are on average at least, if there are more than would be written: opening costs like 1 MB."""
MAX_CLUSTERING = 0.005
"""Up to which clustering() classes count as mixed. At 256 rows per row group it is 2.3 times the variance
that chance alone would give."""


@dataclass(frozen=True)
class Mixing:
    """How the classes of some row groups lie."""

    class_counts: np.ndarray
    """How many rows each class has, int64 [classes]."""
    chi_square: float
    """The sum of (rows - expected) ** 2 / expected over all row groups and classes."""


def why_rewrite(clean: Manifest, balance: BalancePlan, plan: RebalancePlan, layout: Layout) -> str | None:
    """The first reason in the manifest for which clean/ has to be rewritten; None when there is none.

    Args:
        clean: its manifest.
        balance: of its train split.
        plan: of the rewriting.
        layout: what the files are to be like.
    """
    train = clean.splits["train"]
    if balance.targets != train.class_counts:
        return f"{sum(balance.targets.values())} train rows are wanted, clean/ holds {train.num_rows}"
    wanted = plan.files_of[0]
    if layout.num_files and len(train.files) != wanted:
        return f"{wanted} train files are wanted, clean/ holds {len(train.files)}"
    mean_bytes = fmean(file.num_bytes for file in train.files)
    if len(train.files) > wanted and mean_bytes < MIN_FILE_BYTES:
        return f"{len(train.files)} train files of {mean_bytes:.0f} bytes on average are small, {wanted} would do"
    numbers = [file.num_rows for file in train.files]
    if max(abs(num_rows / fmean(numbers) - 1) for num_rows in numbers) > MAX_FILE_SPREAD:
        return f"train files hold from {min(numbers)} to {max(numbers)} rows"
    largest = max(rows for split in clean.splits.values() for file in split.files for rows in file.row_groups)
    wanted_rows = rows_within(layout.rows_per_row_group, plan.row_bytes)
    if largest > wanted_rows:
        return f"a row group holds {largest} rows, {wanted_rows} are wanted"
    mean_group = train.num_rows / num_row_groups(clean)
    if mean_group < wanted_rows / 2 and len(train.files) < num_row_groups(clean):
        return f"row groups hold {mean_group:.0f} rows on average, {wanted_rows} are wanted"
    return None


def measure_mixing(labels: list[np.ndarray], class_counts: np.ndarray) -> Mixing:
    """Of the row groups of one file.

    Args:
        labels: int [rows] of each row group.
        class_counts: int64 [num_classes] of the whole split.
    """
    found = np.array([np.bincount(group, minlength=len(class_counts)) for group in labels])
    shares = class_counts / class_counts.sum()
    expected = found.sum(axis=1, keepdims=True) * shares
    inside = np.broadcast_to(shares > 0, found.shape)
    return Mixing(found.sum(axis=0), float((np.square(found - expected)[inside] / expected[inside]).sum()))


def clustering(files: list[Mixing], num_row_groups: int) -> float:
    """How much likelier two rows of a row group are of one class than two rows at random: 1 where row groups hold one
    class each, about 0 where classes are mixed (the intraclass correlation, from the chi-square of independence).

    Args:
        files: all of the train split.
        num_row_groups: of them together.
    """
    counts = np.sum([file.class_counts for file in files], axis=0)
    freedom = (num_row_groups - 1) * (np.count_nonzero(counts) - 1)
    if freedom <= 0:  # a single row group is shuffled as a whole
        return 0.0
    overdispersion = sum(file.chi_square for file in files) / freedom
    return (overdispersion - 1) / max(int(counts.sum()) / num_row_groups - 1, 1)


def num_row_groups(clean: Manifest) -> int:
    """Of the train split."""
    return sum(len(file.row_groups) for file in clean.splits["train"].files)
