"""Shows a training run while it goes on, from the lines that the leader appends to metrics.jsonl.

On a terminal a bar with rate, loss and time left; elsewhere a plain line every few seconds.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from farandole.log import console, on_terminal, say

POLL_SECONDS = 0.5
"""How often new lines of metrics.jsonl are looked for."""
PLAIN_SECONDS = 5.0
"""How far apart plain lines are, which stand for the bar where no terminal shows it."""


@contextmanager
def follow(history: Path, total_steps: int, done_steps: int) -> Iterator[None]:
    """While the body runs, shows what is appended to `history`, a metrics.jsonl.

    Args:
        history: need not exist yet; a resumed run cuts it back to where it goes on.
        total_steps: of the run.
        done_steps: where the run goes on; lines up to there were shown by the one before.
    """
    stopped = threading.Event()
    follower = _Follower(history, total_steps, done_steps)
    thread = threading.Thread(target=follower.run, args=(stopped,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class _Follower:
    def __init__(self, history: Path, total_steps: int, done_steps: int) -> None:
        self._history, self._total = history, total_steps
        self._inode, self._offset = self._end() if history.exists() else (0, 0)
        self._shown = (done_steps, True)
        self._last_plain = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def run(self, stopped: threading.Event) -> None:
        if not on_terminal():
            self._until(stopped)
            return
        whole = Column(no_wrap=True)  # where there is little room the bar gets shorter, not the numbers
        columns = (
            TextColumn("train"), BarColumn(), MofNCompleteColumn(table_column=whole),
            TextColumn("steps, {task.fields[figures]}"), TimeRemainingColumn(table_column=whole.copy()),
        )  # fmt: skip
        with Progress(*columns, console=console()) as self._bar:
            self._task = self._bar.add_task(
                "train", total=self._total, completed=self._shown[0], figures="starting ranks"
            )
            self._until(stopped)

    def _until(self, stopped: threading.Event) -> None:
        while not stopped.wait(POLL_SECONDS):
            self._show(self._new_lines())
        self._show(self._new_lines())

    def _new_lines(self) -> list[dict[str, Any]]:
        """Lines that are complete and were not seen yet."""
        try:
            with self._history.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:  # a resumed run has put a file that is cut back in its place
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [json.loads(line) for line in complete.splitlines()]

    def _end(self) -> tuple[int, int]:
        status = self._history.stat()
        return status.st_ino, status.st_size

    def _show(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if (line["global_step"], line["kind"] == "val") <= self._shown:
                continue  # shown before the restart
            self._shown = (line["global_step"], line["kind"] == "val")
            if line["kind"] == "val":
                say(
                    f"train: epoch {line['epoch']} done; val loss {line['loss']:.4f}, accuracy {line['accuracy']:.4f}, "
                    f"balanced accuracy {line['balanced_accuracy']:.4f}"
                )
            elif self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=line["step"], figures=_figures(line))
            elif time.monotonic() - self._last_plain >= PLAIN_SECONDS:
                self._last_plain = time.monotonic()
                left = (self._total - line["step"]) * line["wall_seconds"] / max(line["step"], 1)
                say(f"train: step {line['step']} of {self._total}, {_figures(line)}, {left:.0f} s left")


def _figures(line: dict[str, Any]) -> str:
    return f"epoch {line['epoch']}, loss {line['loss']:.4f}, {line['images_per_second']:.0f} images/s"
