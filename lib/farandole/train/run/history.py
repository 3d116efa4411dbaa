"""What a run tells while it trains: metrics.jsonl, receipts.jsonl and TensorBoard, written by the leader alone."""

import time
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from farandole.core.json_lines import append_line, keep_lines
from farandole.train.run.run_directory import RunDirectory

_NOT_PLOTTED = {"kind", "epoch", "step", "global_step", "images", "num_rows", "wall_seconds"}


class History:
    """Writes for the leader; on other ranks every call does nothing."""

    def __init__(self, run: RunDirectory, is_leader: bool) -> None:
        self._run = run
        self._is_leader = is_leader
        self._events = EventFileWriter(str(run.tensorboard)) if is_leader else None

    def resume(self, global_step: int) -> None:
        """Cuts both files back to what was written up to this step, and lets TensorBoard show no later events."""
        if self._events is None:
            return
        keep_lines(self._run.history, global_step)
        keep_lines(self._run.receipts, global_step)
        # What a killed run has written stays in its files: at this mark TensorBoard drops the events from its step on.
        self._add(global_step + 1, session_log=SessionLog(status=SessionLog.START))

    def log(self, line: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl, and its figures to TensorBoard under train/ or val/."""
        if self._events is None:
            return
        append_line(self._run.history, line)
        plotted = sorted(line.keys() - _NOT_PLOTTED)
        values = [Summary.Value(tag=f"{line['kind']}/{name}", simple_value=line[name]) for name in plotted]
        self._add(line["global_step"], summary=Summary(value=values))

    def _add(self, global_step: int, **what: Any) -> None:
        assert self._events is not None
        self._events.add_event(Event(wall_time=time.time(), step=global_step, **what))
        self._events.flush()

    def log_receipt(self, line: dict[str, Any]) -> None:
        """Appends one line to receipts.jsonl."""
        if self._is_leader:
            append_line(self._run.receipts, line)
