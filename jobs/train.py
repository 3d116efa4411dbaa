"""balanced/ -> runs/RUN/: Horovod on Spark trains a CNN data-parallel, each rank in its own slot, and reports on it."""

from farandole import pipeline
from farandole.cli import run_job
from farandole.spark.session import own_stderr, quiet_jvm

if __name__ == "__main__":
    own_stderr()
    run_job("train", __doc__ or "", pipeline.train, quiet=quiet_jvm)
