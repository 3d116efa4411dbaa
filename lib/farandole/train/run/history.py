"""What a run tells while it trains: metrics.jsonl, receipts.jsonl and TensorBoard, written by the leader alone."""

from typing import Any

import tensorflow as tf

from farandole.core.json_lines import append_line, keep_lines
from farandole.train.run.run_directory import RunDirectory

_NOT_PLOTTED = {"kind", "epoch", "step", "global_step", "images", "num_rows", "wall_seconds"}


class History:
    """Writes for the leader; on other ranks every call does nothing."""

    def __init__(self, run: RunDirectory, is_leader: bool) -> None:
        self._run = run
        self._is_leader = is_leader
        self._events = tf.summary.create_file_writer(str(run.tensorboard)) if is_leader else None

    def resume(self, global_step: int) -> None:
        """Cuts both files back to what was written up to this step."""
        if self._is_leader:
            keep_lines(self._run.history, global_step)
            keep_lines(self._run.receipts, global_step)

    def log(self, line: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl, and its figures to TensorBoard under train/ or val/."""
        if self._events is None:
            return
        append_line(self._run.history, line)
        with self._events.as_default():
            for name in line.keys() - _NOT_PLOTTED:
                tf.summary.scalar(f"{line['kind']}/{name}", line[name], step=line["global_step"])
        self._events.flush()

    def log_receipt(self, line: dict[str, Any]) -> None:
        """Appends one line to receipts.jsonl."""
        if self._is_leader:
            append_line(self._run.receipts, line)
