"""jobs/train.py with a clock around its parts, and with stamped_rank.py as the ranks' program."""

import json
import os
import time
from pathlib import Path

STARTED = time.time()

import stamped_rank  # noqa: E402

from farandole import pipeline  # noqa: E402
from farandole.cli import run_job  # noqa: E402
from farandole.pipeline import jobs, train_stage  # noqa: E402
from farandole.spark.session import own_stderr, quiet_jvm  # noqa: E402

if __name__ == "__main__":
    own_stderr()
    stamped_rank.STAMPS.clear()
    stamped_rank.STAMPS.update({"driver's Python runs": STARTED, "job imported": time.time()})
    stamped_rank.stamp_after(jobs, "start_session", "Spark session there")
    stamped_rank.stamp_after(train_stage, "RunDirectory", "stages found up to date")
    launch = train_stage.launch_ranks

    def launch_ranks(*arguments, **named):
        stamped_rank.STAMPS["ranks launched"] = time.time()
        Path(os.environ["STAMPS"] + ".driver").write_text(json.dumps(stamped_rank.STAMPS))
        return launch(*arguments, **{**named, "module": "stamped_rank"})

    train_stage.launch_ranks = launch_ranks
    run_job("train", "a stamped run", pipeline.train, quiet=quiet_jvm)
