import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farandole.core.plan.balance import expand_copies, plan_balance
from farandole.errors import DataError

class_counts = st.lists(st.integers(1, 10_000), min_size=1, max_size=20).map(
    lambda counts: {f"class {i}": count for i, count in enumerate(counts)}
)


def test_oversample_repeats_up_to_the_largest_class():
    plan = plan_balance({"cat": 10, "dog": 4, "eel": 1}, strategy="oversample", max_repeats=5)
    assert plan.targets == {"cat": 10, "dog": 10, "eel": 5}
    assert plan.repeats == {"cat": 1, "dog": 2, "eel": 5}
    assert plan.extras == {"cat": 0, "dog": 2, "eel": 0}
    assert plan.class_weights == {}


def test_undersample_cuts_to_the_smallest_class():
    plan = plan_balance({"cat": 10, "dog": 4}, strategy="undersample", max_repeats=5)
    assert plan.targets == {"cat": 4, "dog": 4}
    assert plan.repeats == {"cat": 0, "dog": 1}
    assert plan.extras == {"cat": 4, "dog": 0}


def test_none_and_weights_keep_every_row_once():
    for strategy in ("none", "weights"):
        plan = plan_balance({"cat": 10, "dog": 4}, strategy=strategy, max_repeats=5)
        assert plan.targets == {"cat": 10, "dog": 4}
        assert set(plan.repeats.values()) == {1}
        assert set(plan.extras.values()) == {0}


def test_weights_of_a_known_case():
    plan = plan_balance({"cat": 6, "dog": 2}, strategy="weights", max_repeats=1)
    assert plan.class_weights == {"cat": 8 / (2 * 6), "dog": 8 / (2 * 2)}


@given(class_counts)
def test_weights_have_mean_one_over_the_rows(counts):
    weights = plan_balance(counts, strategy="weights", max_repeats=1).class_weights
    mean = sum(weights[name] * count for name, count in counts.items()) / sum(counts.values())
    assert mean == pytest.approx(1.0)


@given(class_counts, st.sampled_from(["none", "oversample", "undersample", "weights"]), st.integers(1, 20))
def test_repeats_and_extras_make_up_the_target(counts, strategy, max_repeats):
    plan = plan_balance(counts, strategy=strategy, max_repeats=max_repeats)
    for name, count in counts.items():
        assert plan.repeats[name] * count + plan.extras[name] == plan.targets[name]
        assert 0 <= plan.extras[name] < count
        assert plan.repeats[name] + (plan.extras[name] > 0) <= max(max_repeats, 1)
        if strategy == "oversample":
            assert count <= plan.targets[name] <= max(counts.values())
        if strategy == "undersample":
            assert plan.targets[name] == min(counts.values())


def test_a_class_without_rows_is_refused():
    with pytest.raises(DataError, match=r"no rows of 'dog', received class counts \{'cat': 3, 'dog': 0\}; add images"):
        plan_balance({"cat": 3, "dog": 0}, strategy="none", max_repeats=1)


def test_no_classes_are_refused():
    with pytest.raises(DataError, match=r"no rows of any class, received class counts \{\}"):
        plan_balance({}, strategy="none", max_repeats=1)


def test_expand_copies_of_a_known_case():
    positions, copies = expand_copies(np.array([2, 0, 1]))
    assert positions.tolist() == [0, 0, 2]
    assert copies.tolist() == [0, 1, 0]
    assert copies.dtype == np.int32


@given(st.lists(st.integers(0, 5), max_size=30))
def test_expand_copies_numbers_each_rows_copies_from_zero(num_copies):
    positions, copies = expand_copies(np.array(num_copies, dtype=np.int64))
    expected = [(row, copy) for row, count in enumerate(num_copies) for copy in range(count)]
    assert list(zip(positions.tolist(), copies.tolist(), strict=True)) == expected
