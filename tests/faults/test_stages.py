"""Data stages that are broken off: the old version stays, nothing else is visible, and the next run is as any other."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.versions import list_versions
from farandole.errors import FarandoleError, ResourceError
from farandole.pipeline.data_stages import ensure_balanced, ensure_clean
from farandole.spark.preprocess import clean
from farandole.spark.rebalance import rebalance
from faults import digits
from faults.digits import bytes_of, digits_config


@pytest.fixture
def on_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As rebalance moves what is too large for the driver: by Spark tasks, through spill files."""
    monkeypatch.setattr(rebalance, "MAX_DRIVER_BYTES", 0)


@pytest.fixture(scope="module")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What undisturbed stages write, by path below paths.work."""
    work = tmp_path_factory.mktemp("finished")
    balance(spark, digits_config(work))
    return below(work)


def balance(spark: SparkSession, config: Config) -> Manifest:
    with ensure_balanced(lambda: spark, config) as version:
        return version.manifest


def clean_up(spark: SparkSession, config: Config) -> Manifest:
    with ensure_clean(lambda: spark, config) as version:
        return version.manifest


def below(work: Path) -> dict[str, str]:
    return {str(Path(path).relative_to(work)): sha256 for path, sha256 in bytes_of(work).items()}


@pytest.mark.usefixtures("on_executors")
def test_a_killed_worker_ends_the_stage_and_the_next_run_is_whole(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: dict[str, str]
) -> None:
    clean_up(spark, digits_config(tmp_path, image={"height": 4, "width": 4, "channels": 1}))
    old = bytes_of(tmp_path)
    config = digits_config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(clean, "write_files", digits.write_files_and_die)
        with pytest.raises(FarandoleError, match=r"^preprocess: write: a Python worker died: it was killed"):
            clean_up(spark, config)
    assert bytes_of(tmp_path) == old
    with monkeypatch.context() as patch:
        patch.setattr(rebalance, "write_from_spill", digits.write_and_die)
        with pytest.raises(FarandoleError, match=r"^rebalance: write files: a Python worker died: it was killed"):
            balance(spark, config)
    assert list((tmp_path / "balanced").iterdir()) == []
    balance(spark, config)
    assert {path: sha256 for path, sha256 in below(tmp_path).items() if str(tmp_path / path) not in old} == finished


def test_a_killed_driver_leaves_nothing_that_is_seen_and_nothing_that_stays(
    spark: SparkSession, tmp_path: Path, finished: dict[str, str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    work = tmp_path / "work"
    environment = {**os.environ, "PIPE": str(tmp_path / "pipe"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("stuck_driver.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(work)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        assert (tmp_path / "pipe").read_text() == "written"  # returns once a task has written its files
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    assert any(re.match(r"clean/\.\w{8}\.tmp-.*/data/split=train/", name) for name in below(work))
    assert list_versions(work / "clean") == []
    assert psutil.wait_procs(family, timeout=30)[1] == []
    balance(spark, digits_config(work))
    assert below(work) == finished


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, free_bytes: int) -> None:
    """Takes all room but this."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    status = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_bsize - free_bytes)


def refusal(stage: Callable[[], object], message: str) -> None:
    with pytest.raises(ResourceError, match=message) as caught:
        stage()
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("on_executors")
def test_a_full_disk_leaves_the_old_version(spark: SparkSession, small_disk: Path, finished: dict[str, str]) -> None:
    work = small_disk / "work"
    config = digits_config(work)
    balance(spark, config)
    larger = digits_config(work, image={"height": 16, "width": 16, "channels": 1})
    others = digits_config(work, balance={"seed": 1})
    full = (
        r"disk full while writing .*/{}: [1-9]\d+ bytes were written and more are needed, \d+ bytes are free; make room"
    )
    fill(small_disk, free_bytes=100_000)
    refusal(lambda: clean_up(spark, larger), full.format(r"clean/\w{8}"))
    assert below(work) == finished
    refusal(
        lambda: balance(spark, others),
        r"work/balanced/\w{8} needs \d{6} bytes while it is written, \d{5,6} bytes are free; make room, or set ano",
    )
    fill(small_disk, free_bytes=310_000)
    refusal(lambda: balance(spark, others), full.format(r"balanced/\w{8}"))
    assert below(work) == finished
    (small_disk / "ballast").unlink()
    assert balance(spark, others).splits["train"].num_rows
