"""What ranks say when they do not agree, without starting any: what the collectives would return is given."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from farandole.core.rank_spec import Place, World
from farandole.errors import DataError, RankError, ResourceError
from farandole.train.horovod import distributed
from farandole.train.horovod.distributed import agree, join_world

OWN, OTHER = "0123456789abcdef", "fedcba9876543210"


def gathers(monkeypatch, *answers: list[list[int]]) -> None:
    waiting = [np.array(answer, np.int64) for answer in answers]
    monkeypatch.setattr(distributed, "gather_integers", lambda values, name: waiting.pop(0))


def short(text: str) -> int:
    return int(text[:15], 16)


def test_ranks_that_agree_go_on(monkeypatch):
    gathers(monkeypatch, [[short(OWN), 0]] * 3)
    agree(OWN, "epoch plan")


def test_the_first_rank_that_differs_is_named_with_the_files(monkeypatch):
    own, other = short(OWN), short(OTHER)
    gathers(monkeypatch, [[own, 2], [own, 2], [other, 2]], [[own, own], [own, own], [own, other]])
    parts = {"part-00000.parquet": OWN, "part-00001.parquet": OWN}
    message = r"rank 2 has another epoch plan than rank 0 \(they differ in part-00001.parquet\); all ranks must see"
    with pytest.raises(DataError, match=message):
        agree(OWN, "epoch plan", parts)


def test_without_parts_to_compare_the_rank_alone_is_named(monkeypatch):
    gathers(monkeypatch, [[short(OWN), 1], [short(OTHER), 3]])
    with pytest.raises(DataError, match="rank 1 has another model than rank 0; all ranks must see"):
        agree(OWN, "model", {"a": OWN})


def join(monkeypatch, *, init: Callable[[], None] = lambda: None, version: str = distributed.HOROVOD) -> None:
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", SimpleNamespace(init=init, rank=lambda: 0, size=lambda: 1))
    monkeypatch.setattr(distributed, "version", {"horovod": version}.__getitem__)
    monkeypatch.setattr(distributed.os, "environ", {})
    place, rendezvous = Place("h", World(1, 2, 1, 2, 0, 1)), ("127.0.0.1", 1)
    join_world(place, interface="lo", rendezvous=rendezvous, stall_seconds=9)


def test_a_horovod_that_counts_otherwise_is_refused(monkeypatch):
    with pytest.raises(RankError, match="Horovod says rank 0 of 1; the launcher said 1 of 2"):
        join(monkeypatch)


def test_a_horovod_without_our_changes_is_refused(monkeypatch):
    message = r"ranks need horovod 0\.28\.1\+farandole, found 0\.28\.1; install packages/horovod of farandole's sources"
    with pytest.raises(ResourceError, match=message):
        join(monkeypatch, version="0.28.1")


def test_tensors_are_summed_as_one_group(monkeypatch):
    groups = []
    horovod = SimpleNamespace(grouped_allreduce=lambda tensors, op: groups.append((tensors, op)) or tensors, Sum="sum")
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", horovod)
    assert distributed.sum_tensors((1, 2)) == [1, 2]
    assert groups == [([1, 2], "sum")]


def test_only_threads_of_horovod_are_kept_from_preempting_others():
    def policy_of_a_thread() -> int:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(os.sched_getscheduler, 0).result()

    assert policy_of_a_thread() == os.SCHED_OTHER
    with distributed._starting_batch_threads():
        assert policy_of_a_thread() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == policy_of_a_thread() == os.SCHED_OTHER


def test_a_sandbox_that_refuses_it_costs_speed_only(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(distributed.os, "sched_setscheduler", refuse)
    with distributed._starting_batch_threads():
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_sums_take_the_interface_that_the_launcher_chose(monkeypatch):
    with pytest.raises(RankError, match="Horovod says rank 0 of 1"):
        join(monkeypatch)
    found = {name: distributed.os.environ[name] for name in ("HOROVOD_GLOO_IFACE", "NCCL_SOCKET_IFNAME")}
    assert found == {"HOROVOD_GLOO_IFACE": "lo", "NCCL_SOCKET_IFNAME": "=lo"}


def test_horovod_starts_its_threads_so(monkeypatch):
    found: list[int] = []
    with pytest.raises(RankError, match="Horovod says rank 0 of 1"):
        join(monkeypatch, init=lambda: found.append(os.sched_getscheduler(0)))
    assert found == [os.SCHED_BATCH]
