"""How many ranks a master can run, asked before and after Spark has started."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from farandole.config.train import Train
from farandole.errors import ConfigError, ResourceError
from farandole.spark.ranks import slots as module
from farandole.spark.ranks.slots import check_slots, num_slots, ranks_for, slots_of_local_master


def test_slots_are_counted_without_waiting_in_local_mode(spark: SparkSession) -> None:
    assert num_slots(spark, wanted=3, wait_seconds=1e9) == 2


@pytest.mark.parametrize(
    ("master", "slots"),
    [
        ("local", 1),
        ("local[3]", 3),
        ("local[3,2]", 3),
        ("local[*]", os.cpu_count()),
        ("local-cluster[2,1,512]", None),
        ("spark://host:7077", None),
    ],
)
def test_slots_of_a_local_master_are_told_before_spark_starts(master: str, slots: int | None) -> None:
    assert slots_of_local_master(master) == slots


def test_as_many_ranks_as_there_are_slots_between_two_bounds():
    train = Train(num_ranks=4, min_ranks=2)
    assert [ranks_for(train, offered) for offered in (9, 4, 3, 2)] == [4, 4, 3, 2]
    with pytest.raises(ResourceError, match=r"train.min_ranks needs 2 slots, the cluster offers 1; lower train.min"):
        ranks_for(train, 1)
    with pytest.raises(ResourceError, match=r"train.num_ranks needs 4 slots, the cluster offers 3; lower train.num"):
        ranks_for(Train(num_ranks=4), 3)


@pytest.fixture
def cluster(monkeypatch):
    """A session whose slots come one each 20 s of a clock that is made up, as an autoscaler's nodes do."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + 1.0))
    monkeypatch.setattr(module, "_stages", lambda context: [])
    monkeypatch.setattr(module, "jvm_profile", lambda context: None)

    def session(**properties: str) -> Any:
        names = {f"spark.{name.replace('_', '.')}": value for name, value in properties.items()}
        jvm = SimpleNamespace(isLocal=lambda: False, maxNumConcurrentTasks=lambda _: int(clock[0] // 20))
        context = SimpleNamespace(getConf=lambda: SimpleNamespace(getAll=names.items))
        context._jsc = SimpleNamespace(sc=lambda: jvm)
        return SimpleNamespace(sparkContext=context)

    return session, clock


YARN = {"master": "yarn", "executor_memoryOverhead": "8g"}


def test_executors_that_were_asked_for_are_waited_for(cluster, capfd):
    session, clock = cluster
    assert check_slots(session(**YARN, executor_instances="3"), Train(num_ranks=3)) == 3
    assert clock[0] == 60
    assert capfd.readouterr().err.splitlines() == [
        f"waiting for slots: {slots} of 3 after {seconds} s of at most 600 s"
        for slots, seconds in ((0, 15), (1, 30), (2, 45))
    ]


@pytest.mark.parametrize(
    ("properties", "wait", "slots"),
    [
        ({"master": "spark://h:7077"}, None, 0),  # a cluster of a fixed size
        (YARN | {"executor_instances": "2"}, None, 0),  # the third will never come
        (YARN | {"executor_instances": "3"}, 30.0, 1),  # as long as the caller says
    ],
)
def test_slots_that_will_not_come_are_refused_soon(cluster, properties, wait, slots):
    session, clock = cluster
    with pytest.raises(ResourceError, match=rf"train.num_ranks needs 3 slots, the cluster offers {slots}"):
        check_slots(session(**properties), Train(num_ranks=3), wait)
    assert clock[0] == (wait or 5)


def test_the_wait_for_executors_ends(cluster):
    session, clock = cluster
    with pytest.raises(ResourceError, match="needs 9 slots, the cluster offers 2"):
        check_slots(session(**YARN, executor_instances="9"), Train(num_ranks=9, executors_wait_seconds=50.0))
    assert clock[0] == 50


def test_a_session_that_starts_no_ranks_is_refused_at_once(cluster):
    session, clock = cluster
    with pytest.raises(ConfigError, match="dynamicAllocation"):
        check_slots(session(**YARN, dynamicAllocation_enabled="true"), Train())
    assert clock[0] == 0
