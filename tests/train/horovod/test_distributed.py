"""What ranks say when they do not agree, without starting any: what the collectives would return is given."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from farandole.core.rank_spec import Place, World
from farandole.errors import DataError, RankError
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


def join(monkeypatch, *, num_pauses: int = 1, init: Callable[[], None] = lambda: None) -> None:
    basics = SimpleNamespace(MPI_LIB_CTYPES=SimpleNamespace(_name="libhorovod.so"))
    horovod = SimpleNamespace(init=init, rank=lambda: 0, size=lambda: 1)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", horovod)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow.mpi_ops", SimpleNamespace(_basics=basics))
    monkeypatch.setattr(distributed, "answer_gethostname", lambda library, address: 1)
    monkeypatch.setattr(distributed._cycles, "pause", lambda library: num_pauses)
    monkeypatch.setattr(distributed.os, "environ", {})
    place, rendezvous = Place("h", World(1, 2, 1, 2, 0, 1)), ("127.0.0.1", 1)
    join_world(place, address="127.0.0.1", interface="lo", rendezvous=rendezvous, stall_seconds=9)


def test_a_horovod_that_counts_otherwise_is_refused(monkeypatch):
    with pytest.raises(RankError, match="Horovod says rank 0 of 1; the launcher said 1 of 2"):
        join(monkeypatch)


def test_a_horovod_whose_thread_does_not_pause_is_refused(monkeypatch):
    with pytest.raises(RankError, match=r"libhorovod\.so does not call nanosleep; install horovod 0.28.1"):
        join(monkeypatch, num_pauses=0)


def test_a_sum_in_a_graph_is_begun_before_it_and_ended_after_it(monkeypatch):
    import tensorflow as tf

    calls: list[str] = []

    def grouped_allreduce(tensors, op):
        with tf.control_dependencies([tf.numpy_function(lambda: calls.append("sum"), [], [])]):
            return [tf.identity(tensor) * 2 for tensor in tensors]

    monkeypatch.setitem(sys.modules, "horovod.tensorflow", SimpleNamespace(grouped_allreduce=grouped_allreduce, Sum=0))
    monkeypatch.setattr(distributed._cycles, "begin", lambda: calls.append("begin"))
    monkeypatch.setattr(distributed._cycles, "end", lambda: calls.append("end"))
    monkeypatch.setattr(distributed._cycles, "are_paused", True)

    @tf.function(autograph=False)
    def graph(x):
        with tf.control_dependencies([tf.numpy_function(lambda: calls.append("compute"), [], [])]):
            x = x + 1.0
        (total,) = distributed.sum_tensors([x])
        return total

    for _ in range(2):
        assert float(graph(tf.constant(1.0))) == 4.0
    assert calls == ["compute", "begin", "sum", "end"] * 2
    calls.clear()
    assert float(distributed.sum_tensors([tf.constant(1.0)])[0]) == 2.0
    assert calls == ["begin", "sum", "end"]
    calls.clear()
    monkeypatch.setattr(distributed._cycles, "are_paused", False)
    assert float(distributed.sum_tensors([tf.constant(1.0)])[0]) == 2.0
    assert calls == ["sum"]


@pytest.mark.parametrize("collective", ["sum_integers", "gather_integers"])
def test_what_ranks_tell_each_other_is_a_sum_to_horovod(monkeypatch, collective):
    def during(tensor, **_):
        assert distributed._cycles._num_sums == 1
        return tensor

    monkeypatch.setattr(distributed._cycles, "are_paused", True)
    horovod = SimpleNamespace(allreduce=during, allgather=during, Sum=0)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", horovod)
    assert getattr(distributed, collective)(np.array([3], np.int64), "name").ravel().tolist() == [3]
    assert distributed._cycles._num_sums == 0


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
