"""layout.rewrite = "auto": which files of clean/ will do, by the manifest and by how classes lie in row groups."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import file_entry, make_manifest, split_entry

from farandole.config.layout import Layout
from farandole.config.load import parse_config
from farandole.core.dataset.manifest import SplitEntry
from farandole.core.plan.balance import plan_balance
from farandole.core.plan.rebalance_plan import plan_rebalance
from farandole.core.plan.rewrite_plan import MAX_FILE_SPREAD, clustering, measure_mixing, why_rewrite
from farandole.errors import ConfigError

ROW_BYTES = 32 * 32 * 3


def a_split(files: list[list[int]], *, skew: int = 0) -> SplitEntry:
    """Of files with these row groups; class "a" has `skew` rows more than "b"."""
    rows = sum(map(sum, files))
    counts = {"a": (rows + skew) // 2, "b": rows - (rows + skew) // 2}
    entries = [file_entry(groups, path=f"{i}.parquet", row_bytes=ROW_BYTES) for i, groups in enumerate(files)]
    return split_entry(counts, entries)


def reason(train: list[list[int]], *, skew: int = 0, strategy: str = "none", **layout: Any) -> str | None:
    splits = {"train": a_split(train, skew=skew), "test": a_split([[200]])}
    clean = make_manifest(splits, image_shape=(32, 32, 3))
    config = parse_config({"balance": {"strategy": strategy}, "layout": {"rewrite": "auto", **layout}})
    balance = plan_balance(clean.splits["train"].class_counts, strategy=strategy, max_repeats=10)
    plan = plan_rebalance(clean, balance, Path("clean"), seed=0, num_files=config.layout.num_files)
    return why_rewrite(clean, balance, plan, config.layout)


EVEN = [[205] * 8] * 6


@pytest.mark.parametrize(
    ("train", "options"),
    [
        (EVEN, {}),
        (EVEN, {"strategy": "weights", "skew": 500}),
        (EVEN, {"strategy": "oversample"}),  # the classes are equal already
        ([[205] * 8, [205] * 10, [205] * 8], {}),
        (EVEN, {"num_files": 6}),
        ([[90]], {}),  # the only row group cannot be larger
    ],
)
def test_what_will_do(train: list[list[int]], options: dict[str, Any]) -> None:
    assert reason(train, **options) is None


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (EVEN, {"strategy": "oversample", "skew": 10}, "9850 train rows are wanted, clean/ holds 9840"),
        (EVEN, {"num_files": 4}, "4 train files are wanted, clean/ holds 6"),
        ([[205]] * 6, {}, "6 train files of 629760 bytes on average are small, 1 would do"),
        ([[205] * 8, [205] * 12, [205] * 8], {}, "train files hold from 1640 to 2460 rows"),
        ([*EVEN, [205] * 5], {}, "train files hold from 1025 to 1640 rows"),
        ([[256] * 8, [257] * 8], {}, "a row group holds 257 rows, 256 are wanted"),
        ([[20] * 80, [20] * 80], {}, "row groups hold 20 rows on average, 256 are wanted"),
        (EVEN, {"rows_per_row_group": 199}, "a row group holds 205 rows, 199 are wanted"),
    ],
)
def test_what_has_to_be_rewritten(train: list[list[int]], options: dict[str, Any], message: str) -> None:
    assert reason(train, **options) == message


def test_help_says_how_uneven_files_may_be() -> None:
    meaning = Layout.model_fields["rewrite"].description or ""
    assert re.findall(r"even within (\S+)", meaning) == [f"{MAX_FILE_SPREAD:.0%}"]


def of_labels(files: list[list[np.ndarray]]) -> float:
    counts = np.bincount(np.concatenate([group for file in files for group in file]), minlength=4)
    return clustering([measure_mixing(file, counts) for file in files], sum(len(file) for file in files))


def test_clustering_is_1_where_row_groups_hold_one_class() -> None:
    groups = [np.full(50, label) for label in (0, 1, 2) for _ in range(4)]
    assert of_labels([groups[:5], groups[5:]]) == pytest.approx(1, abs=0.1)


def test_clustering_of_a_case_worked_out_by_hand() -> None:
    # Two row groups of 4 rows, classes 3 + 1 and 1 + 3: every cell is 1 off its expected 2, so chi-square is
    # 4 * 1/2 = 2 with 1 degree of freedom; (2 - 1) / (4 - 1).
    assert of_labels([[np.array([0, 0, 0, 1])], [np.array([0, 1, 1, 1])]]) == pytest.approx(1 / 3)


@given(seed=st.integers(0, 10_000), num_files=st.integers(1, 6), rows=st.integers(100, 256))
def test_clustering_is_near_0_where_labels_are_drawn(seed: int, num_files: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    files = [[rng.choice(4, rows, p=[0.7, 0.2, 0.1, 0]) for _ in range(8)] for _ in range(num_files)]
    assert abs(of_labels(files)) < 4 * np.sqrt(2 / ((8 * num_files - 1) * 2)) / (rows - 1) * 1.5


def test_one_row_group_or_one_class_is_mixed() -> None:
    assert of_labels([[np.array([0, 0, 1])]]) == 0
    assert of_labels([[np.array([2, 2]), np.array([2])]]) == 0


def test_petastorm_needs_rewritten_files() -> None:
    with pytest.raises(ConfigError, match=r"train.reader = 'petastorm' needs .* received layout.rewrite = 'auto'"):
        parse_config({"layout": {"rewrite": "auto"}, "train": {"reader": "petastorm"}})
