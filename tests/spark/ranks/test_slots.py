"""How many ranks a master can run, asked before and after Spark has started."""

import os

import pytest
from pyspark.sql import SparkSession

from farandole.config.train import Train
from farandole.errors import ResourceError
from farandole.spark.ranks.slots import num_slots, ranks_for, slots_of_local_master


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
