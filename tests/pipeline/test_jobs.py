"""The jobs as functions of a notebook, with a session of its own; as spark-submit runs them: tests/jobs."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from farandole import pipeline
from farandole.config.load import load_config, parse_config
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


def test_a_model_learns_from_a_number_beside_the_picture(spark, tmp_path):
    """The pictures are noise: the number alone tells the classes apart, and it is missing here and there."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    heat = [None if row % 10 == 0 else 20.0 + 5.0 * label + rng.normal() for row, label in enumerate(labels)]
    table = {"image": [noise(rng) for _ in labels], "label": labels, "heat": heat}
    (tmp_path / "raw").mkdir()
    pq.write_table(pa.table(table), tmp_path / "raw/x.parquet")
    tables = {
        "paths": {"work": str(tmp_path / "work")},
        "data": {"source": "table", "path": str(tmp_path / "raw"), "keep_columns": ["heat"]},
        "sample": {"inputs": ["image", "heat"]},
        "missing": {"columns": {"heat": {"policy": "fill", "statistic": "mean"}}},
        "image": {"height": 4, "width": 4},
        "model": {"name": "mlp", "arguments": {"hidden_units": [16]}},
        "train": {"epochs": 20, "learning_rate": 0.01, "run_name": "numbers"},
        "evaluate": {"name": "whole"},
    }
    pipeline.train(parse_config(tables), spark)
    pipeline.evaluate(parse_config(tables), spark)
    run = tmp_path / "work/runs/numbers"
    trained, evaluated = (json.loads((path / "metrics.json").read_text()) for path in (run, run / "evaluation/whole"))
    assert trained["test"]["accuracy"] > 0.85
    assert evaluated["test"] == trained["test"]
    assert "input heat (train)" in (run / "report.html").read_text()
    picture_alone = parse_config({**tables, "sample": {}, "train": {"warm_start": "numbers"}})
    with pytest.raises(ConfigError, match=r"sample.inputs \['image', 'heat'\] -> \['image'\]"):
        pipeline.train(picture_alone, spark)


def noise(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
