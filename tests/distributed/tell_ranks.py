"""A job for spark-submit: launches ranks that only tell where they are, and prints that as JSON. NUM_RANKS LOGS"""

import json
import sys
from pathlib import Path

from farandole.core.rank_spec import Assignment
from farandole.spark.ranks.launch import launch_ranks
from farandole.spark.ranks.slots import num_slots
from farandole.spark.session import start_session

spark = start_session("tell", Path("no file: this is not local mode"))
num_ranks, logs = int(sys.argv[1]), Path(sys.argv[2])
try:
    ranks = launch_ranks(
        spark,
        module="distributed.telling_rank",
        assignment=Assignment("tell", config={}, data_directory="", data_fingerprint=""),
        log_directory=logs,
        num_ranks=num_ranks,
        hang_seconds=20.0,
    )
    cores = spark.sparkContext.defaultParallelism
    # All other stages run on all cores, whether there are GPUs for them or not.
    one_per_core = spark.sparkContext.parallelize(range(cores), cores).barrier().mapPartitions(lambda _: [1]).count()
    print(json.dumps({"ranks": ranks, "slots": num_slots(spark), "cores": cores, "tasks": one_per_core}))
finally:
    spark.stop()
