"""The jobs as functions of a notebook, with a session of its own; as spark-submit runs them: tests/jobs."""

import json

import pytest

from farandole import pipeline
from farandole.config.load import load_config
from farandole.config.shipped import shipped
from farandole.errors import ConfigError, GateError
from farandole.pipeline import evaluate_stage
from farandole.train.run.run_directory import RunDirectory

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


@pytest.mark.parametrize(
    ("job", "settings", "message"),
    [
        (pipeline.train, ["model.arguments={filter=[3]}"], "did you mean filters"),
        (pipeline.train, ["model.name=resnet9", "model.arguments={}", "image.width=7"], "8 pixels a side or more"),
        (pipeline.train, ["train.warm_start=none"], "runs/none/model/model.json cannot be read"),
        (pipeline.evaluate, ["evaluate.run=none"], "runs/none is no finished run"),
    ],
)
def test_what_cannot_work_is_refused_before_spark_starts_and_data_are_made(
    tmp_path, monkeypatch, job, settings, message
):
    monkeypatch.setattr("farandole.pipeline.jobs.start_session", refuse)
    with pytest.raises(ConfigError, match=message):
        job(load_config(shipped("digits.toml"), [f"paths.work={tmp_path / 'work'}", *settings]))
    assert not (tmp_path / "work").exists()


def test_a_gate_without_test_rows_is_refused_before_training(spark, tmp_path):
    settings = [*SMALL, f"paths.work={tmp_path}", "split.test_fraction=0", "evaluate.min_test_accuracy=0.5"]
    config = load_config(shipped("digits.toml"), settings)
    for job in (pipeline.train, pipeline.evaluate):
        with pytest.raises(GateError, match=r"min_test_accuracy is 0.5, but there are no test rows; set split.test_fr"):
            job(config, spark)
    assert not (tmp_path / "runs").exists()


def refuse(*_):
    raise AssertionError("Spark was started")


def test_what_another_job_finished_meanwhile_is_left_alone(spark, tmp_path, monkeypatch):
    config = load_config(shipped("digits.toml"), [*SMALL, f"paths.work={tmp_path}", "evaluate.name=whole"])
    for job, directory, question in (
        (pipeline.train, "runs/small", (RunDirectory, "is_finished")),
        (pipeline.evaluate, "runs/small/evaluation/whole", (evaluate_stage, "_is_done")),
    ):
        job(config, spark)
        metrics = tmp_path / directory / "metrics.json"
        finished, asked, own = metrics.read_bytes(), iter([False]), getattr(*question)
        with monkeypatch.context() as patch:
            patch.setattr(*question, lambda *args, asked=asked, own=own: next(asked, True) and own(*args))
            job(config, spark)
        assert metrics.read_bytes() == finished  # the time at which it ended is in it


def test_stages_that_are_up_to_date_need_no_session(spark, tmp_path, monkeypatch):
    config = load_config(shipped("digits.toml"), [f"paths.work={tmp_path}"])
    pipeline.rebalance(config, spark)
    monkeypatch.setattr("farandole.pipeline.jobs.start_session", refuse)
    pipeline.preprocess(config)
    pipeline.rebalance(config)
