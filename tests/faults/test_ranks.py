"""Ranks that die, hang or go astray under a real barrier stage: the error names rank and cause, and nobody waits."""

import os
import re
import threading
from contextlib import contextmanager

import psutil
import pytest

from balanced_data import write_balanced
from distributed.faulty_rank import plan_fault
from farandole.config.load import Config, parse_config
from farandole.core.json_lines import read_lines
from farandole.core.rank_spec import Assignment
from farandole.errors import DataError, RankError, ResourceError
from farandole.spark.ranks import launch as module_launch
from farandole.spark.ranks import lookout
from farandole.spark.ranks.launch import launch_ranks
from farandole.spark.ranks.restart import launch_with_restarts
from farandole.train.run.run_directory import RunDirectory

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
    run.prepare({})
    plan_fault(config.work, fault)
    return launch_ranks(
        spark,
        module=MODULE,
        assignment=Assignment("train", config.model_dump(), str(root), manifest.fingerprint()),
        log_directory=run.logs,
        num_ranks=config.train.num_ranks,
        hang_seconds=config.train.hang_seconds,
    )


def left_over(directory) -> dict[str, set]:
    """What may be left behind: ranks and with them their ports, shared memory, files half written."""
    family = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    return {
        "ranks": {p.pid for p in family if MODULE in p.cmdline()},
        "shared memory": set(os.listdir("/dev/shm")),
        "files": {*directory.glob("**/.*.partial"), *directory.glob("**/launch-*")},
    }


@pytest.fixture(autouse=True)
def _nothing_is_left(spark, tmp_path):
    before = left_over(tmp_path)
    yield
    psutil.wait_procs([psutil.Process(pid) for pid in left_over(tmp_path)["ranks"] - before["ranks"]], timeout=30)
    assert left_over(tmp_path) == before


@pytest.fixture(scope="module")
def calm(spark, tmp_path_factory, data):
    """A run that nothing disturbs, and its results."""
    work = tmp_path_factory.mktemp("calm")
    return work / "runs/run", launch(spark, config_for(work, checkpoint_every_steps=2), data)


def test_two_ranks_train_to_the_end(calm):
    run, results = calm
    assert len(results) == 2
    assert results[0]["metrics"]["train"]["images"] == 180
    assert results[0]["metrics"]["val"]["num_rows"] > 0
    assert results[1]["metrics"] == {}
    assert results[0]["metrics"]["train"]["checkpoint_pause_seconds"] > 0
    assert results[0]["metrics"]["train"]["checkpoint_seconds"] > 0
    assert [line["rows_trained"] for line in read_lines(run / "receipts.jsonl")] == [60] * 3


def test_a_killed_python_worker_is_a_restart_and_changes_no_bit(spark, tmp_path, data, calm, capfd):
    config = config_for(tmp_path, checkpoint_every_steps=2)
    fault = {"kind": "kill parent", "step": 7, "ranks": [1], "once": str(tmp_path / "once")}
    launch_with_restarts(lambda restart: launch(spark, config, data, fault), lambda: (0, "from a checkpoint"), 1)
    told = " ".join(capfd.readouterr().err.split())
    assert "train: rank 1 on " in told
    assert ": Spark lost its task: SparkException: Python worker exited unexpectedly (crashed)" in told
    for file in ("model/weights.safetensors", "receipts.jsonl"):
        assert (tmp_path / "runs/run" / file).read_bytes() == (calm[0] / file).read_bytes()


@pytest.mark.parametrize(
    ("fault", "error", "message", "cause"),
    [
        ("kill", RankError, r"rank 1 on .*: the process was killed by signal 9, while .*\(log: .*rank-1.log\)", ""),
        ("raise", DataError, r"rank 1 on .*: the disk was eaten by a goat \(log: .*rank-1.log\)", "faulty_rank.py"),
        (
            "stop",
            RankError,
            r"rank 1 on .*: nothing was heard for \d+ s, while .*; it hangs or was stopped",
            "",
        ),
        (
            "stuck read",
            RankError,
            r"rank 1 on .*: no progress for \d+ s, while reading .*part-00000.parquet, row group \d, .*; it hangs",
            "in stuck",  # the stacks of its threads
        ),
        (
            "stop parent",  # its rank waits as well, so that no run can end before the frozen worker is noticed
            RankError,
            r"rank 1 on .*: nothing was heard of its task for \d+ s; its Python worker or its host is frozen or cut",
            "Job .* cancelled",
        ),
    ],
)
def test_the_rank_at_fault_is_named_and_the_others_end(spark, tmp_path, data, fault, error, message, cause):
    # Less would take healthy ranks for hung ones while other tests hold both cores.
    config = config_for(tmp_path, hang_seconds=6.0)
    with pytest.raises(error, match=message) as caught:
        launch(spark, config, data, {"kind": fault, "step": 5, "ranks": [1]})
    assert re.search(cause, str(caught.value.__cause__))


def test_slots_that_something_else_holds_are_not_waited_for_without_end(spark, tmp_path, data, monkeypatch):
    monkeypatch.setattr(lookout, "SLOTS_SECONDS", 1.0)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    holder = threading.Thread(
        target=lambda: spark.sparkContext.parallelize([pipe], 1).map(lambda path: path.read_text()).count()
    )
    holder.start()
    with pipe.open("w"), pytest.raises(ResourceError, match=r"^2 ranks waited 1 s for 2 free slots; other Spark jobs"):
        launch(spark, config_for(tmp_path), data)
    holder.join()


def test_nan_stops_every_rank_at_the_same_step_names_its_rank_and_spoils_no_checkpoint(spark, tmp_path, data):
    config = config_for(tmp_path)
    message = (
        r"^rank 1 on .*: NaN or Inf at epoch 0, step 0 \(step 0 of the run\): the loss of 8 of 8 rows, the first in "
        r"part-00000.parquet, row group \d, is nan; all ranks stopped there, .*train.learning_rate, 0.001 now"
    )
    with pytest.raises(DataError, match=message) as caught:
        launch(spark, config, data, {"kind": "nan", "step": -1, "ranks": [1]})
    assert caught.value.exit_code == 3
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
    with pytest.raises(DataError, match=r"rank \d on .*part-00001.parquet, row group 0.* CRC.*; the file is damaged"):
        launch(spark, config_for(tmp_path / "work"), (root, manifest))


def test_a_host_that_does_not_share_the_work_directory_ends_in_exit_4(spark, tmp_path, data, monkeypatch):
    @contextmanager
    def unshared(directory):
        yield directory  # which the driver has, and nobody else

    monkeypatch.setattr(module_launch, "_launch_directory", unshared)
    message = (
        r"^rank \d on .*: its host cannot write into .*/runs/run/logs/launch-.*, which the driver has made \(No such "
        r"file or directory\); driver and executors must share paths.work$"
    )
    with pytest.raises(ResourceError, match=message) as caught:
        launch(spark, config_for(tmp_path), data)
    assert caught.value.exit_code == 4
