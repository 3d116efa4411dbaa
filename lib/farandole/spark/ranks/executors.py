"""What ranks ask of executors, held against Spark's properties: that there are enough, at once, with memory for them.

YARN and Kubernetes are asked for a number of executors, and end one that takes more memory than was asked for. Other
clusters do neither.
"""

import re
from collections.abc import Mapping

from farandole.config.train import Train
from farandole.errors import ConfigError, ResourceError
from farandole.log import say

RANK_MIB = 850
"""What a rank takes beside train.reader_memory_bytes: 731 with CIFAR-10, and about 100 its Python worker."""
DYNAMIC = "spark.dynamicAllocation.enabled"
INSTANCES = "spark.executor.instances"
OVERHEAD = "spark.executor.memoryOverhead"
_UNITS = {"b": 2**-20, "k": 2**-10, "": 1, "m": 1, "g": 2**10, "t": 2**20, "p": 2**30}

Properties = Mapping[str, str]
"""Of Spark, by name, the master among them."""


def properties_for_ranks(given: Properties, train: Train) -> dict[str, str]:
    """What a session that is ours to start must have besides for ranks to start in it; says what it changes.

    Dynamic allocation, which is on by default on many platforms, is turned off: Spark starts no barrier stage with it.
    """
    chosen: dict[str, str] = {}
    if _is_dynamic(given):
        chosen[DYNAMIC] = "false"
    if _is_asked_for_executors(given):
        if INSTANCES not in given or _is_dynamic(given):
            chosen[INSTANCES] = str(_num_executors(given, train.num_ranks))
        if OVERHEAD not in given and _overhead_mib(given) < needed_mib(given, train):
            chosen[OVERHEAD] = f"{needed_mib(given, train)}m"
    if chosen:
        reason = f"{DYNAMIC} was true, and ranks start all at once; " if _is_dynamic(given) else ""
        say(f"spark: {reason}this job sets {', '.join(f'{name}={value}' for name, value in chosen.items())}")
    return chosen


def check_executors(given: Properties, train: Train) -> None:
    """Looks at a session, ours or the caller's, before the first long stage.

    Raises:
        ConfigError: dynamic allocation is on.
        ResourceError: executors would be ended for the memory that their ranks take; tells how much that is.
    """
    if _is_dynamic(given):
        raise ConfigError(
            f"Spark starts no ranks in a session with {DYNAMIC}=true, as it adds executors one by one; start the "
            f"session with false, and {INSTANCES}={_num_executors(given, train.num_ranks)}"
        )
    needed = needed_mib(given, train)
    if _is_asked_for_executors(given) and _overhead_mib(given) < needed:
        raise ResourceError(
            f"{_ranks_per_executor(given, train.num_ranks)} ranks on an executor take {needed} MiB beside its JVM, "
            f"{OVERHEAD} leaves {_overhead_mib(given)} MiB; set it to {needed}m, or lower train.reader_memory_bytes"
        )


def slots_to_come(given: Properties) -> int | None:
    """How many slots there are once all executors that were asked for have come; None: nobody was asked for any."""
    if not _is_asked_for_executors(given):
        return None
    return int(given.get(INSTANCES, 2)) * _slots_per_executor(given)


def needed_mib(given: Properties, train: Train) -> int:
    """The memory that an executor's ranks take beside its JVM."""
    of_one = RANK_MIB + -(-train.reader_memory_bytes // 2**20)
    return _ranks_per_executor(given, train.num_ranks) * of_one


def _is_dynamic(given: Properties) -> bool:
    local = re.match(r"local($|\[)", given.get("spark.master", ""))  # where Spark itself passes it over
    return given.get(DYNAMIC, "false").lower() == "true" and not local


def _is_asked_for_executors(given: Properties) -> bool:
    return given.get("spark.master", "").startswith(("yarn", "k8s"))


def _num_executors(given: Properties, num_ranks: int) -> int:
    """At least those that the platform would begin with: data stages use all."""
    names = (INSTANCES, "spark.dynamicAllocation.minExecutors", "spark.dynamicAllocation.initialExecutors")
    return max(-(-num_ranks // _slots_per_executor(given)), 2, *(int(given.get(name, 0)) for name in names))


def _ranks_per_executor(given: Properties, num_ranks: int) -> int:
    return min(_slots_per_executor(given), num_ranks)


def _slots_per_executor(given: Properties) -> int:
    slots = int(given.get("spark.executor.cores", 1)) // int(given.get("spark.task.cpus", 1))
    gpus = given.get("spark.executor.resource.gpu.amount")
    if gpus:
        slots = min(slots, int(int(gpus) / float(given.get("spark.task.resource.gpu.amount", 1))))
    return max(slots, 1)


def _overhead_mib(given: Properties) -> int:
    """What the platform grants beside the JVM."""
    if OVERHEAD in given:
        return _mib(given[OVERHEAD])
    # Spark's default for programs that are not Java's.
    usual = "0.4" if given["spark.master"].startswith("k8s") else "0.1"
    factor = given.get("spark.executor.memoryOverheadFactor", given.get("spark.kubernetes.memoryOverheadFactor", usual))
    least = _mib(given.get("spark.executor.minMemoryOverhead", "384m"))
    return max(int(_mib(given.get("spark.executor.memory", "1g")) * float(factor)), least)


def _mib(text: str) -> int:
    """Spark's sizes, in MiB where there is no unit.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+)\s*([bkmgtp]?)(?:i?b)?\s*", text.lower())
    if not found:
        raise ConfigError(f"a size of memory among Spark's properties is a number and a unit, as 2g; received {text!r}")
    return int(int(found[1]) * _UNITS[found[2]])
