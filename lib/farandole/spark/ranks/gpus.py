"""One GPU for each rank's task, and none for any other: preprocess uses all cores of the same executors.

Spark's stage-level scheduling does that: the stage of the ranks asks for GPUs, the default profile does not. Spark's
local mode knows no GPUs; there they are dealt out here, by local rank. One that is there and not used is told.
"""

import os
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from socket import gethostname
from typing import Any

from pyspark import RDD, SparkContext
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests

from farandole.log import say

_AMOUNTS = ("spark.executor.resource.gpu.amount", "spark.task.resource.gpu.amount")


def with_gpus(context: SparkContext, tasks: RDD) -> RDD:
    """The tasks of the ranks, each with a GPU where the executors have any."""
    profile = _gpu_profile(context)
    return tasks.withResources(profile) if profile else tasks


def jvm_profile(context: SparkContext) -> Any:
    """What the task of a rank asks for, as the JVM's ResourceProfile: it decides how many run at once."""
    manager = context._jsc.sc().resourceProfileManager()
    profile = _gpu_profile(context)
    if profile is None:
        return manager.defaultResourceProfile()
    manager.addResourceProfile(profile._java_resource_profile)
    return profile._java_resource_profile


@lru_cache(maxsize=1)  # Spark keeps every profile that it was ever told
def _gpu_profile(context: SparkContext) -> ResourceProfile | None:
    """None without GPUs, and where spark.task.resource.gpu.amount gives them to the tasks of all stages."""
    conf = context.getConf()
    if conf.get("spark.executor.resource.gpu.amount") is None or conf.get("spark.task.resource.gpu.amount") is not None:
        return None
    requests = TaskResourceRequests().cpus(int(conf.get("spark.task.cpus") or 1)).resource("gpu", 1)
    return ResourceProfileBuilder().require(requests).build


def list_gpus() -> list[str]:
    """This host's NVIDIA GPUs, as CUDA counts them: those of CUDA_VISIBLE_DEVICES, else those that nvidia-smi lists."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def dealt_gpus(rank: int, num_ranks: int) -> list[str]:
    """The GPU of a rank where all ranks are on this host and Spark deals none out: one each, or none at all."""
    gpus = list_gpus() if uses_gpus() else []
    return gpus[rank : rank + 1] if len(gpus) >= num_ranks else []


def uses_gpus() -> bool:
    """Whether the TensorFlow that is installed can use a GPU: tensorflow-cpu cannot."""
    try:
        return bool(distribution("tensorflow"))
    except PackageNotFoundError:
        return False


def tell_unused_gpus(context: SparkContext, num_ranks: int) -> None:
    """Says in one line which GPUs there are that no rank will use, and what to do."""
    if any(context.getConf().get(name) for name in _AMOUNTS):
        return
    if not context._jsc.sc().isLocal():
        hosts = context.parallelize(range(num_ranks), num_ranks).map(lambda _: (gethostname(), list_gpus())).collect()
        found = sorted({f"{host}: {', '.join(gpus)}" for host, gpus in hosts if gpus})
        if found:
            say(
                f"warning: training on processors, beside GPUs that Spark does not deal out ({'; '.join(found[:5])}); "
                f"set spark.executor.resource.gpu.amount, as conf/spark/gpu-cluster.conf does"
            )
        return
    gpus = list_gpus()
    if gpus and not uses_gpus():
        say(f"warning: training on processors, not on GPU {', '.join(gpus)}, because tensorflow-cpu is installed")
    elif gpus and len(gpus) < num_ranks:
        say(f"warning: training on processors: {len(gpus)} GPUs for {num_ranks} ranks; lower train.num_ranks")
    elif len(gpus) > num_ranks:
        say(f"warning: {num_ranks} of {len(gpus)} GPUs are used; raise train.num_ranks")
