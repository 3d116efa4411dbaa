"""Ranks that die, hang or go astray under a real barrier stage: the error names rank and cause, and nobody waits."""

import psutil
import pytest

from balanced_data import write_balanced
from farandole.config import Config, parse_config
from farandole.core.json_lines import read_lines
from farandole.errors import DataError, RankError, ResourceError
from farandole.spark.launch import launch_ranks
from farandole.train.run_directory import RunDirectory

MODULE = "distributed.faulty_rank"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "balanced"
    root.mkdir()
    return root, write_balanced(root, train=[[10] * 6], val=10)


def config_for(work, **train) -> Config:
    settings = {"num_ranks": 2, "global_batch_size": 16, "epochs": 3, "run_name": "run", **train}
    return parse_config({"paths": {"work": str(work)}, "model": {"name": "mlp"}, "train": settings})


def launch(spark, config: Config, data, fault=None):
    root, manifest = data
    run = RunDirectory(config, manifest)
    run.prepare(config)
    spec = {
        "task": "train",
        "config": config.model_dump(),
        "data_directory": str(root),
        "data_fingerprint": manifest.fingerprint(),
    }
    if fault:
        spec["fault"] = fault
    return launch_ranks(spark, module=MODULE, train=config.train, spec=spec, log_directory=run.logs)


def rank_processes() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if MODULE in (p.info["cmdline"] or [])]


def test_two_ranks_train_to_the_end_and_leave_nothing(spark, tmp_path, data):
    config = config_for(tmp_path)
    results = launch(spark, config, data)
    assert len(results) == 2
    assert results[0]["metrics"]["train"]["images"] == 180
    assert results[0]["metrics"]["val"] == results[1]["metrics"]["val"]
    assert [line["rows_trained"] for line in read_lines(tmp_path / "runs/run/receipts.jsonl")] == [60] * 3
    assert rank_processes() == []


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("kill", RankError, r"rank 1 on .*: the process was killed by signal 9.*\(log: .*rank-1.log\)"),
        ("raise", DataError, r"rank 1 on .*: the disk was eaten by a goat \(log: .*rank-1.log\)"),
        ("stop", RankError, r"rank 1 on .*: nothing was heard for 5 s, .*; it hangs or was stopped"),
    ],
)
def test_the_rank_at_fault_is_named_and_the_others_end(spark, tmp_path, data, fault, error, message):
    config = config_for(tmp_path, hang_seconds=5.0)
    with pytest.raises(error, match=message):
        launch(spark, config, data, {"kind": fault, "step": 5, "ranks": [1]})
    assert rank_processes() == []


def test_nan_stops_every_rank_at_the_same_step_and_spoils_no_checkpoint(spark, tmp_path, data):
    config = config_for(tmp_path)
    with pytest.raises(DataError, match=r"NaN or Inf at epoch 0, step 0 .*train.learning_rate, 0.001 now"):
        launch(spark, config, data, {"kind": "nan", "step": -1, "ranks": [1]})
    assert list((tmp_path / "runs/run/checkpoints").glob("*")) == []


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("arrow", r"epoch 0: 60 rows planned, 50 trained; .*part-00000.parquet, row group 0: 10 planned, 0 trained"),
        ("petastorm", r"epoch 0: \d\d rows planned for rank \d, petastorm delivered .*part-00000.parquet, row group 0"),
    ],
)
def test_a_reader_that_loses_a_row_group_ends_in_exit_3(spark, tmp_path, data, reader, message):
    with pytest.raises(DataError, match=message) as caught:
        launch(spark, config_for(tmp_path, reader=reader), data, {"kind": "lose", "step": -1, "ranks": [0, 1]})
    assert caught.value.exit_code == 3


def test_the_traceback_of_the_rank_is_kept_for_the_log_file(spark, tmp_path, data):
    with pytest.raises(DataError) as caught:
        launch(spark, config_for(tmp_path), data, {"kind": "raise", "step": 2, "ranks": [0]})
    assert "faulty_rank.py" in str(caught.value.__cause__)
    assert "rank 0 on" in str(caught.value)


def test_too_few_slots_are_refused_at_once(spark, tmp_path, data):
    with pytest.raises(ResourceError, match=r"train.num_ranks needs 64 slots, the cluster offers 2; lower"):
        launch(spark, config_for(tmp_path, num_ranks=64), data)


def test_a_damaged_file_is_named_by_the_rank_that_met_it(spark, tmp_path):
    root = tmp_path / "balanced"
    root.mkdir()
    manifest = write_balanced(root, train=[[10] * 3, [10] * 3])
    path = root / manifest.splits["train"].files[1].path
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"rank \d on .*part-00001.parquet has SHA-256 .*; the file is damaged"):
        launch(spark, config_for(tmp_path / "work"), (root, manifest))
