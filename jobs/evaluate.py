"""A trained run -> runs/RUN/evaluation/: exact metrics of its saved model on val and test, and a report of its own."""

from farandole import pipeline
from farandole.cli import run_job
from farandole.spark.session import own_stderr, quiet_jvm

if __name__ == "__main__":
    own_stderr()
    run_job("evaluate", __doc__ or "", pipeline.evaluate, quiet=quiet_jvm)
