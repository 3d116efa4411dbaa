"""Raw images -> clean/: decode, validate, deduplicate, split, resize, encode; rejected records go to quarantine."""

from farandole import pipeline
from farandole.cli import run_job
from farandole.spark.session import own_stderr, quiet_jvm

if __name__ == "__main__":
    own_stderr()
    run_job("preprocess", __doc__ or "", pipeline.preprocess, quiet=quiet_jvm)
