"""Tasks: how many there are, in which order their results come, and what they leave in a worker."""

import sys
import zipfile
import zipimport

from farandole.spark.tasks import MAX_TASK_BYTES, MIN_TASK_BYTES, _forget_archives, plan_num_tasks, run_tasks


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
