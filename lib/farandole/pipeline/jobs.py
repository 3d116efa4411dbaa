"""One function per job: what jobs/NAME.py runs, and what a notebook or a scheduler's Python calls.

`spark` is a session of the caller's own, which is left running; without one a job starts Spark when it has work to do,
as spark-submit's arguments say.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial

from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.config.shipped import shipped
from farandole.config.train import Train
from farandole.pipeline.data_stages import Session, ensure_balanced, ensure_clean
from farandole.pipeline.evaluate_stage import ensure_evaluated
from farandole.pipeline.gate import check_gate
from farandole.pipeline.train_stage import ensure_trained
from farandole.spark.ranks.executors import properties_for_ranks
from farandole.spark.ranks.slots import check_slots_early
from farandole.spark.session import start_session


def preprocess(config: Config, spark: SparkSession | None = None) -> None:
    """Raw records -> clean/ID/: decoded, deduplicated and split, the rejected ones apart. Raises as `ensure_clean`."""
    with ensure_clean(_session("preprocess", spark), config, asked=True):
        pass


def rebalance(config: Config, spark: SparkSession | None = None) -> None:
    """clean/ID/ -> balanced/ID/: even classes in even files. Raises as `ensure_balanced`."""
    with ensure_balanced(_session("rebalance", spark), config, asked=True):
        pass


def train(config: Config, spark: SparkSession | None = None) -> None:
    """balanced/ID/ -> runs/RUN/: ranks on Spark train data-parallel. Raises as `ensure_trained` and `check_gate`."""
    run = ensure_trained(_session_for_ranks("train", spark, config.train), config, asked=True)
    check_gate(config.evaluate, run.metrics)


def evaluate(config: Config, spark: SparkSession | None = None) -> None:
    """A trained run -> runs/RUN/evaluation/NAME/: exact figures. Raises as `ensure_evaluated` and `check_gate`."""
    session = _session_for_ranks("evaluate", spark, config.train)
    check_gate(config.evaluate, ensure_evaluated(session, config))


Choose = Callable[[Mapping[str, str]], dict[str, str]]


def _session(job: str, spark: SparkSession | None, train: Train | None = None) -> Session:
    if spark is not None:
        return lambda: spark
    choose: Choose = partial(properties_for_ranks, train=train) if train else lambda given: {}
    return cache(lambda: start_session(f"farandole {job}", shipped("spark", "local.conf"), choose))


def _session_for_ranks(job: str, spark: SparkSession | None, train: Train) -> Session:
    """One that refuses too few slots for the ranks before Spark has started, and so before the data stages."""
    session = _session(job, spark, train)

    def checked() -> SparkSession:
        if spark is None:
            check_slots_early(train)
        return session()

    return checked
