"""clean/ -> balanced/: even out the classes of the train split, and write equal files, globally shuffled."""

from farandole import pipeline
from farandole.cli import run_job
from farandole.spark.session import own_stderr, quiet_jvm

if __name__ == "__main__":
    own_stderr()
    run_job("rebalance", __doc__ or "", pipeline.rebalance, quiet=quiet_jvm)
