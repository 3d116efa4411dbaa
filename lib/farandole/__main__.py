"""`farandole NAME ...`, or `python -m farandole NAME ...`: the jobs without spark-submit.

They check the command line and the config first, and start Spark only when there is work to do, so that a mistake costs
seconds. What else Spark is to be told stands in spark-defaults.conf, or in PYSPARK_SUBMIT_ARGS.
"""

import inspect
import sys

from farandole import pipeline
from farandole.cli import run_job
from farandole.log import say
from farandole.spark.session import quiet_jvm

JOBS = {name: getattr(pipeline, name) for name in pipeline.__all__}


def run_named_job() -> None:
    """Runs the job that the first argument names, with the others; ends the process as run_job does."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if name not in JOBS:
        say(_usage())
        say(f"error[2]: the first argument must be one of {', '.join(JOBS)}; received {name!r}")
        sys.exit(2)
    del sys.argv[1]
    run_job(name, _summary(name), JOBS[name], quiet=quiet_jvm, program=f"farandole {name}")


def _usage() -> str:
    lines = [f"  {name:<11}{_summary(name)}" for name in JOBS]
    return "\n".join(
        ["usage: farandole NAME [--config FILE] [--set SECTION.KEY=VALUE]; farandole NAME --help says more", *lines]
    )


def _summary(name: str) -> str:
    return (inspect.getdoc(JOBS[name]) or "").partition(" Raises ")[0]


if __name__ == "__main__":
    run_named_job()
