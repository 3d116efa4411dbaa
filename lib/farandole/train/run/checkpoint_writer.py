"""Writes checkpoints in a thread of the leader while training goes on; training stands still for the copy alone."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from farandole.log import say
from farandole.train.run.checkpoint import Position, save_checkpoint


class CheckpointWriter:
    """One write at a time: the next checkpoint waits for the last one, and is skipped where that takes too long."""

    def __init__(self, directory: Path, keep: int, patience_seconds: float) -> None:
        self._directory, self._keep, self._patience_seconds = directory, keep, patience_seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None
        self._last_step = 0
        self.write_seconds = 0.0
        """Time spent in writing checkpoints, beside the training."""
        self.pause_seconds = 0.0
        """Time for which training stood still, to copy tensors or to wait for the checkpoint before."""

    def save(self, position: Position, snapshot: Callable[[], dict[str, np.ndarray]]) -> None:
        """Takes the snapshot, whose arrays nobody else may change, and returns; the rest happens in the thread.

        A full disk must not end the run: a failed write is told, and the next checkpoint may fit again.
        """
        started = time.perf_counter()
        if self._wait(self._patience_seconds):
            self._last_step = position.global_step
            self._last = self._pool.submit(self._write, position, snapshot())
        else:
            say(
                f"warning: no checkpoint at step {position.global_step}: that of step {self._last_step} "
                f"is still being written after {self._patience_seconds:.0f} s more"
            )
        self.pause_seconds += time.perf_counter() - started

    def close(self) -> None:
        """Returns when the last checkpoint is on disk."""
        started = time.perf_counter()
        self._wait(None)
        self.pause_seconds += time.perf_counter() - started

    def _wait(self, seconds: float | None) -> bool:
        """Whether the last write has ended. What it raised is raised here, if it is no matter of the disk."""
        if self._last is not None:
            if not wait([self._last], seconds).done:
                return False
            self._last.result()
        return True

    def _write(self, position: Position, tensors: dict[str, np.ndarray]) -> None:
        started = time.perf_counter()
        try:
            save_checkpoint(self._directory, position, tensors, self._keep)
        except (OSError, SafetensorError) as error:
            say(f"warning: checkpoint at step {position.global_step} was not written: {error}; the next may be")
        self.write_seconds += time.perf_counter() - started
