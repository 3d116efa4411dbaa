"""GPUs in local mode and those that nobody uses, with an nvidia-smi that pretends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farandole.spark.ranks import gpus
from farandole.spark.ranks.gpus import dealt_gpus, list_gpus, tell_unused_gpus


@pytest.fixture(autouse=True)
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=index ] && printf "0\\n1\\n2\\n3\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "uses_gpus", lambda: True)
    return program


def context(*, local: bool, **conf: str) -> Any:
    """What is asked of a SparkContext; its executors are this process."""

    def parallelize(numbers: range, _parts: int) -> Any:
        return SimpleNamespace(map=lambda function: SimpleNamespace(collect=lambda: [function(n) for n in numbers]))

    scala = SimpleNamespace(sc=lambda: SimpleNamespace(isLocal=lambda: local))
    return SimpleNamespace(getConf=lambda: conf, _jsc=scala, parallelize=parallelize)


def test_gpus_are_those_of_the_environment_or_of_nvidia_smi(four_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_gpus() == ["0", "1", "2", "3"]
    for chosen, found in (("2,3", ["2", "3"]), ("-1", []), ("", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert list_gpus() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    four_gpus.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    assert list_gpus() == []
    four_gpus.unlink()
    assert list_gpus() == []


def test_each_rank_gets_one_or_none_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [dealt_gpus(rank, 3) for rank in range(3)] == [["0"], ["1"], ["2"]]
    assert [dealt_gpus(rank, 5) for rank in range(5)] == [[]] * 5
    monkeypatch.setattr(gpus, "uses_gpus", lambda: False)
    assert dealt_gpus(0, 1) == []


@pytest.mark.parametrize(
    ("num_ranks", "told"),
    [
        (2, "warning: 2 of 4 GPUs are used; raise train.num_ranks\n"),
        (4, ""),
        (5, "warning: training on processors: 4 GPUs for 5 ranks; lower train.num_ranks\n"),
    ],
)
def test_unused_gpus_are_told_in_local_mode(capfd: pytest.CaptureFixture[str], num_ranks: int, told: str) -> None:
    tell_unused_gpus(context(local=True), num_ranks)
    assert capfd.readouterr().err == told


def test_a_tensorflow_without_gpus_is_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "uses_gpus", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    tell_unused_gpus(context(local=True), 2)
    told = capfd.readouterr().err
    assert told == "warning: training on processors, not on GPU 1, 2, because tensorflow-cpu is installed\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tell_unused_gpus(context(local=True), 2)
    assert capfd.readouterr().err == ""


def test_a_cluster_that_deals_none_out_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    tell_unused_gpus(context(local=False), 2)
    told = capfd.readouterr().err
    assert told.startswith("warning: training on processors, beside GPUs that Spark does not deal out (")
    assert ": 0, 1, 2, 3); set spark.executor.resource.gpu.amount, as conf/spark/gpu-cluster.conf does" in told
    for name in ("spark.executor.resource.gpu.amount", "spark.task.resource.gpu.amount"):
        tell_unused_gpus(context(local=False, **{name: "1"}), 2)
        assert capfd.readouterr().err == ""
