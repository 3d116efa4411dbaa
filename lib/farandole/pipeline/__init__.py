"""The order of the stages, as make would see it, and the jobs as functions.

    from farandole import pipeline
    from farandole.config.load import load_config

    pipeline.train(load_config("conf/digits.toml"), spark)

Each function does what the job of its name does, and raises what ends the job: see farandole.errors.
"""

from farandole.pipeline.jobs import evaluate, preprocess, rebalance, train

__all__ = ["evaluate", "preprocess", "rebalance", "train"]
