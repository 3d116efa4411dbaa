"""Tasks: how many there are, in which order their results come, how they fail, and what they leave in a worker."""

import os
import signal
import sys
import zipfile
import zipimport

import pytest
from pyspark.errors import PySparkException

from farandole.errors import DataError, FarandoleError, ResourceError
from farandole.spark.tasks import (
    MAX_TASK_BYTES,
    MIN_TASK_BYTES,
    _forget_archives,
    errors_in_one_line,
    plan_num_tasks,
    reduce_tasks,
    run_tasks,
)


def test_small_data_take_few_tasks_and_large_data_many():
    assert plan_num_tasks(0, 8) == 1
    assert plan_num_tasks(MIN_TASK_BYTES + 1, 8) == 2
    assert plan_num_tasks(100 * MIN_TASK_BYTES, 8) == 8
    assert plan_num_tasks(100 * MAX_TASK_BYTES, 8) == 100


def test_numbers_that_share_a_task_keep_their_order(spark):
    expected = [number * number for number in range(7)]
    for num_tasks in (None, 1, 3, 99):
        assert run_tasks(spark, "squares", 7, lambda number: number * number, num_tasks=num_tasks) == expected
    assert run_tasks(spark, "nothing", 0, lambda number: number, num_tasks=2) == []


def test_after_a_failure_no_further_number_begins(spark, tmp_path):
    def task(number):
        (tmp_path / f"began-{number}").touch()
        if number == 1:
            raise FarandoleError(f"number {number} fails")

    mark = tmp_path / "failed"
    for _ in range(2):  # the second time as after the loss of its host: the mark is there, and it fails again
        with pytest.raises(FarandoleError, match="number 1 fails"):
            run_tasks(spark, "fails", 4, task, num_tasks=1, failure_mark=mark)
        assert [(tmp_path / f"began-{number}").exists() for number in range(4)] == [True, True, False, False]
    assert mark.read_text() == "1"


def test_what_was_not_begun_is_run_when_the_failed_number_succeeds_after_all(spark, tmp_path):
    """As when its host was lost with its error, and another host has the room that it lacked."""
    mark = tmp_path / "failed"
    mark.write_text("1")
    squares = run_tasks(spark, "squares", 4, lambda number: number * number, num_tasks=2, failure_mark=mark)
    assert squares == [0, 1, 4, 9]
    assert not mark.exists()


def test_a_task_may_return_none(spark):
    assert run_tasks(spark, "nothing", 3, lambda number: None) == [None] * 3


def test_archives_are_forgotten_and_can_still_be_imported_from(tmp_path, monkeypatch):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("farandole_one.py", "number = 1")
        file.writestr("farandole_two.py", "number = 2")
    monkeypatch.syspath_prepend(archive)
    import farandole_one

    assert isinstance(sys.path_importer_cache[str(archive)], zipimport.zipimporter)
    _forget_archives()
    assert not [finder for finder in sys.path_importer_cache.values() if isinstance(finder, zipimport.zipimporter)]
    import farandole_two

    assert (farandole_one.number, farandole_two.number) == (1, 2)


def killed_at_two(number: int) -> int:
    """A task whose worker is killed, as the kernel does when memory runs out."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_and_a_foreign_error_are_told_in_one_line(spark):
    with pytest.raises(FarandoleError, match=r"^write: a Python worker died: it was killed, .*local\[1\], or m"):
        run_tasks(spark, "write", 3, killed_at_two)
    with pytest.raises(FarandoleError, match=r"^write: ZeroDivisionError: integer division or modulo by zero$"):
        run_tasks(spark, "write", 2, lambda number: 1 // number)
    assert run_tasks(spark, "write", 2, killed_at_two) == [0, 1]


def test_what_spark_says_in_pages_becomes_one_line():
    cause = PySparkException("Job aborted ...\njava.io.IOException: No space left on device\n\tat java.base/...")
    with (
        pytest.raises(ResourceError, match=r"^sort: a disk that Spark writes to is full; make room in spark.local.dir"),
        errors_in_one_line("sort"),
    ):
        raise cause
    cause = PySparkException("Task 3 in stage 1.0 failed 4 times, ...: Python worker exited unexpectedly (crashed)")
    with pytest.raises(FarandoleError, match=r"^sort: a Python worker died in 4 tries: it"), errors_in_one_line("sort"):
        raise cause


@pytest.mark.parametrize("num_items", [1, 2, 7, 90])
def test_results_are_joined_wherever_they_are(spark, monkeypatch, num_items):
    monkeypatch.setattr("farandole.spark.tasks.MAX_RESULTS", 3)
    assert reduce_tasks(spark, "add", num_items, lambda item: item * item, lambda one, other: one + other) == sum(
        item * item for item in range(num_items)
    )


def test_an_error_of_a_task_is_not_joined(spark):
    def task(item):
        if item == 1:
            raise DataError("item 1 is bad")
        return item

    with pytest.raises(DataError, match="item 1 is bad"):
        reduce_tasks(spark, "add", 5, task, lambda one, other: one + other)
