"""What petastorm misses beside the pyarrow and numpy of today, and the row group that it lost."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farandole.train.input.import_petastorm import LOCAL_FILES, import_petastorm

petastorm = import_petastorm()


@pytest.mark.parametrize("folder", [".", "split=train/label=3"])
def test_row_groups_of_plain_and_of_partitioned_files_come_as_they_are(tmp_path, folder):
    """Folders say nothing: a column comes from the files alone, or not at all."""
    urls = []
    for file in range(2):
        path = tmp_path / folder / f"part-{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = np.arange(5) + 5 * file
        pq.write_table(pa.table({"row": rows, "name": rows.astype(str), "other": rows}), path, row_group_size=3)
        urls.append(f"file://{path}")
    with petastorm.make_batch_reader(
        urls, schema_fields=["row", "name"], workers_count=1, shuffle_row_groups=False, filesystem=LOCAL_FILES
    ) as reader:
        found = [item._asdict() for item in reader]
    assert [item["row"].tolist() for item in found] == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]
    assert [item["name"].tolist() for item in found] == [["0", "1", "2"], ["3", "4"], ["5", "6", "7"], ["8", "9"]]
    assert {key for item in found for key in item} == {"row", "name"}


class Worker:
    """Hands back what it is handed."""

    def __init__(self, worker_id, publish, args):
        self.worker_id, self.publish_func = worker_id, publish

    def process(self, item):
        self.publish_func(item)


class LateVentilator:
    """Hands out its only item in the moment in which it is asked whether it has handed out all."""

    def __init__(self, pool):
        self.pool, self.num_items = pool, 1

    def start(self):
        pass

    stop = processed_item = start

    def completed(self):
        if self.num_items:
            self.num_items -= 1
            self.pool.ventilate("the last row group")
        return True


def test_a_row_group_that_is_handed_out_in_the_last_moment_is_not_lost():
    from petastorm.workers_pool import EmptyResultError
    from petastorm.workers_pool.thread_pool import ThreadPool

    pool = ThreadPool(1)
    pool.start(Worker, ventilator=LateVentilator(pool))
    try:
        assert pool.get_results() == "the last row group"
        with pytest.raises(EmptyResultError):
            pool.get_results()
    finally:
        pool.stop()
        pool.join()


def test_pyarrow_itself_stays_as_it_is():
    assert pq.ParquetDataset.__module__ == "pyarrow.parquet.core"
    assert not hasattr(pq, "ParquetDatasetPiece")
