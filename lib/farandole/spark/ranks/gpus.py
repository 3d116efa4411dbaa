"""One GPU for each rank's task, and none for any other: preprocess uses all cores of the same executors.

Spark's stage-level scheduling does that: the stage of the ranks asks for GPUs, the default profile does not.
"""

from functools import lru_cache
from typing import Any

from pyspark import RDD, SparkContext
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests


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
