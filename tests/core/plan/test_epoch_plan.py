"""The union of all ranks' slices is the epoch, each row once, whatever the shapes: shown over many of them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifests import file_entry, make_manifest, split_entry

from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.epoch_plan import EpochPlan, plan_epoch, slice_for
from farandole.errors import ConfigError, DataError
from planned_rows import rows_at

WORLD_SIZES = (1, 2, 3, 4, 8)


@pytest.fixture(params=[1, 16_384], autouse=True)
def window_rows(request, monkeypatch):
    """Everything holds for streams of many small windows as for streams that are one window."""
    monkeypatch.setattr("farandole.core.plan.epoch_plan.WINDOW_ROWS", request.param)
    return request.param


def manifest_of(row_groups: list[int]) -> Manifest:
    files = [file_entry(row_groups)] if row_groups else []
    return make_manifest({"train": split_entry({"a": sum(row_groups)}, files)}, stage="rebalance")


def batches_of(row_groups: list[int], batch: int, world_size: int, epoch: int = 0) -> list[list[list[tuple[int, int]]]]:
    """[step][rank] -> rows, as (row group, index)."""
    plan = plan_epoch(manifest_of(row_groups), epoch=epoch, seed=3, global_batch_size=batch)
    slices = [slice_for(plan, rank, world_size) for rank in range(world_size)]
    return [
        [list(zip(*(column.tolist() for column in rows_at(s, step)), strict=True)) for s in slices]
        for step in range(plan.num_steps)
    ]


shapes = st.lists(st.integers(1, 40), min_size=1, max_size=50)


@given(row_groups=shapes, batch=st.integers(1, 130), epoch=st.integers(0, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_once_and_the_same_batches_for_any_world_size(row_groups, batch, epoch):
    everything = [(group, i) for group, rows in enumerate(row_groups) for i in range(rows)]
    expected = None
    for world_size in WORLD_SIZES:
        steps = batches_of(row_groups, batch, world_size, epoch)
        assert sorted(row for step in steps for own in step for row in own) == everything
        batches = [{row for own in step for row in own} for step in steps]
        expected = expected or batches
        assert batches == expected
        for step in steps:
            sizes = [len(own) for own in step]
            assert max(sizes) - min(sizes) <= 1


@given(row_groups=shapes, batch=st.integers(1, 130), world_size=st.sampled_from(WORLD_SIZES), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_name_the_same_rows_as_the_batches(row_groups, batch, world_size, data):
    """Readers go stream by stream, checks go batch by batch: both must see the same rows, from any step on."""
    plan = plan_epoch(manifest_of(row_groups), epoch=0, seed=1, global_batch_size=batch)
    start = data.draw(st.integers(0, plan.num_steps - 1))
    for rank in range(world_size):
        own = slice_for(plan, rank, world_size)
        by_batch = [
            row for step in range(start, plan.num_steps) for row in zip(*map(list, rows_at(own, step)), strict=True)
        ]
        by_stream = []
        for stream in own.streams:
            for positions in own.windows(stream, start):
                by_stream += zip(*map(list, plan.locate(positions)), strict=True)
        assert sorted(by_stream) == sorted(by_batch)


def test_ranks_without_rows_of_a_small_batch():
    steps = batches_of([3], batch=2, world_size=8)
    assert [sum(bool(own) for own in step) for step in steps] == [2, 1]


def test_epochs_and_seeds_give_other_orders_and_fingerprints():
    manifest = manifest_of([50] * 20)
    plans = [plan_epoch(manifest, epoch=e, seed=s, global_batch_size=32) for e, s in ((0, 0), (1, 0), (0, 1), (0, 0))]
    firsts = [tuple(map(tuple, rows_at(slice_for(plan, 0, 1), 0))) for plan in plans]
    assert len(set(firsts)) == 3
    assert firsts[0] == firsts[3]
    assert [plan.fingerprint for plan in plans].count(plans[0].fingerprint) == 2


def test_shuffle_is_as_good_as_a_full_one():
    """On rows sorted by label, the worst input, neighbours in training order agree no more often than by chance."""
    row_groups = [64] * 200
    labels = np.arange(12_800) // 1280  # ten classes, one after the other
    plan = plan_epoch(manifest_of(row_groups), epoch=0, seed=0, global_batch_size=64)
    own = slice_for(plan, 0, 1)
    order = np.concatenate([g * 64 + i for g, i in (rows_at(own, step) for step in range(plan.num_steps))])
    per_batch = np.stack([np.bincount(labels[order[i : i + 64]], minlength=10) for i in range(0, 12_800, 64)])
    full = np.random.default_rng(0).permutation(labels).reshape(-1, 64)
    spread = np.stack([np.bincount(row, minlength=10) for row in full]).std()
    assert per_batch.std() < 1.5 * spread


def row_group_reads(plan: EpochPlan, world_size: int) -> int:
    """Row groups that all ranks read in an epoch: one that two of them need, or two streams of one, counts twice."""
    reads = 0
    for rank in range(world_size):
        for stream in slice_for(plan, rank, world_size).streams:
            first, last = plan.stream_starts[stream], plan.stream_starts[stream + 1]
            low, high = np.searchsorted(plan.row_group_ends, [first, last - 1], side="right")
            reads += int(high - low + 1)
    return reads


def test_few_row_groups_are_read_twice():
    plan = plan_epoch(manifest_of([256] * 2000), epoch=0, seed=0, global_batch_size=128)
    assert plan.num_streams == 64
    for world_size in WORLD_SIZES:
        assert 2000 <= row_group_reads(plan, world_size) < 1.08 * 2000


def test_a_billion_rows_are_planned_from_counts_alone():
    plan = plan_epoch(manifest_of([100_000] * 10_000), epoch=0, seed=0, global_batch_size=1024)
    own = slice_for(plan, 5, 7)
    groups, indices = rows_at(own, plan.num_steps - 1)
    assert plan.num_rows == 10**9
    assert 0 < len(next(own.windows(own.streams[0], plan.num_steps // 2))) <= plan.window_rows
    assert len(groups) == own.num_rows(plan.num_steps - 1)
    assert indices.max() < 100_000


def test_refusals_name_what_was_received():
    with pytest.raises(DataError, match="the train split has no rows"):
        plan_epoch(manifest_of([]), epoch=0, seed=0, global_batch_size=4)
    with pytest.raises(ConfigError, match="global_batch_size must be at least 1; received 0"):
        plan_epoch(manifest_of([3]), epoch=0, seed=0, global_batch_size=0)
    plan = plan_epoch(manifest_of([3]), epoch=0, seed=0, global_batch_size=2)
    with pytest.raises(ConfigError, match=r"rank must be in \[0, 2\); received 2"):
        slice_for(plan, 2, 2)
