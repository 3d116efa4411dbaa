"""Spark's properties and what ranks need: what is set, what is refused."""

import pytest

from farandole.config.train import Train
from farandole.errors import ConfigError, ResourceError
from farandole.spark.ranks.executors import check_executors, needed_mib, properties_for_ranks, slots_to_come

DYNAMIC = {"spark.dynamicAllocation.enabled": "true"}
YARN = {"spark.master": "yarn"}
ENOUGH = {"spark.executor.memoryOverhead": "8g"}


@pytest.mark.parametrize(
    ("given", "ranks", "chosen"),
    [
        ({"spark.master": "local[2]"} | DYNAMIC, 2, {}),
        ({"spark.master": "spark://h:7077"}, 2, {}),
        ({"spark.master": "spark://h:7077"} | DYNAMIC, 2, {"spark.dynamicAllocation.enabled": "false"}),
        ({"spark.master": "local-cluster[2,1,1024]"} | DYNAMIC, 2, {"spark.dynamicAllocation.enabled": "false"}),
        (YARN | ENOUGH | {"spark.executor.instances": "3"}, 8, {}),  # refused later: it is the user's own number
        (YARN | ENOUGH, 8, {"spark.executor.instances": "8"}),
        (
            YARN | DYNAMIC | ENOUGH | {"spark.executor.cores": "4", "spark.dynamicAllocation.initialExecutors": "3"},
            8,
            {"spark.dynamicAllocation.enabled": "false", "spark.executor.instances": "3"},
        ),
        (
            YARN | DYNAMIC | {"spark.executor.cores": "4"},
            16,
            {
                "spark.dynamicAllocation.enabled": "false",
                "spark.executor.instances": "4",
                "spark.executor.memoryOverhead": f"{4 * (850 + 512)}m",
            },
        ),
        (YARN | {"spark.executor.instances": "2", "spark.executor.memory": "20g"}, 2, {}),  # a tenth is enough
    ],
)
def test_a_session_of_ours_gets_what_ranks_need(capfd, given, ranks, chosen):
    assert properties_for_ranks(given, Train(num_ranks=ranks)) == chosen
    told = capfd.readouterr().err.splitlines()
    assert len(told) == bool(chosen)
    for name, value in chosen.items():
        assert f"{name}={value}" in told[0]
    check_executors(given | chosen, Train(num_ranks=ranks))


def test_a_session_of_others_with_dynamic_allocation_is_refused():
    given = YARN | DYNAMIC | {"spark.executor.cores": "2"}
    message = (
        r"^Spark starts no ranks in a session with spark.dynamicAllocation.enabled=true, .*; start the session with "
        r"false, and spark.executor.instances=4$"
    )
    with pytest.raises(ConfigError, match=message):
        check_executors(given, Train(num_ranks=8))


@pytest.mark.parametrize(
    ("given", "leaves"),
    [
        (YARN, 384),
        ({"spark.master": "k8s://https://h", "spark.executor.memory": "2g"}, 819),
        (YARN | {"spark.executor.memoryOverhead": "1g"}, 1024),
        (YARN | {"spark.executor.memoryOverhead": "1000"}, 1000),
        (YARN | {"spark.executor.memory": "4096m", "spark.executor.memoryOverheadFactor": "0.25"}, 1024),
    ],
)
def test_too_little_memory_beside_the_jvm_is_refused_with_the_number(given, leaves):
    with pytest.raises(
        ResourceError, match=rf"^1 ranks on an executor take 1362 MiB .* leaves {leaves} MiB; set it to 1362m, or lower"
    ):
        check_executors(given, Train())
    check_executors(given | {"spark.executor.memoryOverhead": "1362m"}, Train())
    check_executors({**given, "spark.master": "spark://h:7077"}, Train())


def test_a_size_that_is_none_is_named():
    with pytest.raises(ConfigError, match=r"is a number and a unit, as 2g; received 'much'"):
        check_executors(YARN | {"spark.executor.memoryOverhead": "much"}, Train())


def test_ranks_on_an_executor_are_bounded_by_cores_and_gpus_and_their_number():
    one = 850 + 512
    cores = YARN | {"spark.executor.cores": "8"}
    assert needed_mib(cores, Train(num_ranks=16)) == 8 * one
    assert needed_mib(cores, Train(num_ranks=3)) == 3 * one
    assert needed_mib(cores | {"spark.task.cpus": "4"}, Train(num_ranks=16)) == 2 * one
    assert needed_mib(cores | {"spark.executor.resource.gpu.amount": "1"}, Train(num_ranks=16)) == one
    halves = {"spark.executor.resource.gpu.amount": "2", "spark.task.resource.gpu.amount": "0.5"}
    assert needed_mib(cores | halves, Train(num_ranks=16)) == 4 * one


def test_slots_that_are_still_to_come():
    assert slots_to_come({"spark.master": "spark://h:7077", "spark.executor.instances": "8"}) is None
    assert slots_to_come({"spark.master": "local-cluster[2,1,512]"}) is None
    assert slots_to_come(YARN) == 2
    assert slots_to_come(YARN | {"spark.executor.instances": "8", "spark.executor.cores": "4"}) == 32
