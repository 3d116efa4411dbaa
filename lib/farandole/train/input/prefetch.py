"""Keeps batches ready while the step runs, large features as tensors, and measures how long training waits for them."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from farandole.core.batches.reader import Batch
from farandole.core.batches.slice_reader import ALIGNMENT_BYTES

DEPTH = 4
"""How many batches are kept ready in the queue."""


def as_tensor(array: np.ndarray) -> Any:
    """The same values as a tensor: in the same memory where TensorFlow can use it, which must not change then."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT_BYTES == 0 and array.size:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def _as_tensors(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Numbers stay as they are: they are counted, too, and copied in no time."""
    return {name: as_tensor(array) if array.ndim > 1 else array for name, array in values.items()}


class Prefetcher:
    """Iterates over batches that a thread reads ahead; `wait_seconds` adds up how long the consumer stood still.

    An error of the reader is raised here, at the step whose batch it spoiled.
    """

    def __init__(self, batches: Iterator[Batch], depth: int = DEPTH) -> None:
        self.wait_seconds = 0.0
        self._ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches,), name="reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            started = time.perf_counter()
            item = self._ready.get()
            self.wait_seconds += time.perf_counter() - started
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stops the thread, also in mid-epoch; returns when it has ended."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.05)

    def _fill(self, batches: Iterator[Batch]) -> None:
        last: BaseException | None = None
        try:
            for batch in batches:
                if self._stopped.is_set():
                    return
                self._ready.put(replace(batch, values=_as_tensors(batch.values)))
        except BaseException as error:  # handed over, whatever it is: the consumer must not wait for ever
            last = error
        if not self._stopped.is_set():
            self._ready.put(last)
