import threading

import numpy as np
import pytest

from farandole.core.batches.reader import Batch
from farandole.core.batches.slice_reader import ALIGNMENT_BYTES
from farandole.errors import DataError
from farandole.train.input.prefetch import Prefetcher, as_tensor


def batches(count: int, error: Exception | None = None):
    for number in range(count):
        rows = np.full(1, number)
        yield Batch({"image": rows, "label": rows}, rows, rows, rows)
    if error:
        raise error


def test_order_is_kept_and_the_thread_ends():
    source = Prefetcher(batches(20))
    assert [int(batch.rows[0]) for batch in source] == list(range(20))
    source.close()
    assert "reader" not in [thread.name for thread in threading.enumerate()]


def test_an_error_comes_at_its_own_place():
    source = Prefetcher(batches(3, DataError("row group 7")))
    items = iter(source)
    assert [int(next(items).rows[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="row group 7"):
        next(items)
    source.close()


def test_closing_in_the_middle_stops_an_endless_reader():
    source = Prefetcher(batches(10**9))
    assert next(iter(source)) is not None
    source.close()
    assert "reader" not in [thread.name for thread in threading.enumerate()]


def test_aligned_images_are_not_copied_and_others_have_the_same_values():
    memory = np.arange(1024 + ALIGNMENT_BYTES, dtype=np.uint8)
    first = -memory.ctypes.data % ALIGNMENT_BYTES
    aligned, shifted = (memory[at : at + 1024].reshape(4, 16, 16) for at in (first, first + 1))
    for array in (aligned, shifted, aligned[:0], aligned[:, ::2]):
        assert np.array_equal(as_tensor(array).numpy(), array)
    tensor = as_tensor(aligned)
    aligned[0, 0, 0] = 99
    assert tensor[0, 0, 0] == 99
