"""The jobs as functions of a notebook, with a session of its own; as spark-submit runs them: tests/jobs."""

import json

from farandole import pipeline
from farandole.config.load import load_config
from farandole.config.shipped import shipped

SMALL = ["train.epochs=1", "train.run_name=small", "model.name=mlp", "model.arguments={hidden_units=[8]}"]


def test_a_notebook_trains_and_evaluates_with_its_own_session(spark, tmp_path):
    config = load_config(shipped("digits.toml"), [*SMALL, f"paths.work={tmp_path}"])
    pipeline.train(config, spark)
    pipeline.evaluate(config, spark)
    run = tmp_path / "runs/small"
    (evaluation,) = (run / "evaluation").iterdir()
    trained, evaluated = (json.loads((path / "metrics.json").read_text()) for path in (run, evaluation))
    assert evaluated["test"] == trained["test"]
    assert spark.sparkContext.parallelize([1, 2]).sum() == 3  # it was not stopped
    # Nor are later jobs of the notebook called after ours.
    names = ("spark.job.description", "spark.jobGroup.id")
    assert [spark.sparkContext.getLocalProperty(name) for name in names] == [None, None]


def test_stages_that_are_up_to_date_need_no_session(spark, tmp_path, monkeypatch):
    config = load_config(shipped("digits.toml"), [f"paths.work={tmp_path}"])
    pipeline.rebalance(config, spark)

    def refuse(*_):
        raise AssertionError("Spark was started")

    monkeypatch.setattr("farandole.pipeline.jobs.start_session", refuse)
    pipeline.preprocess(config)
    pipeline.rebalance(config)
