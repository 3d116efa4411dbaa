"""Shows a training run while it goes on, from the lines that the leader appends to metrics.jsonl.

On a terminal a bar with rate, loss and time left; elsewhere a plain line every few seconds. Where the leader has
nothing to tell, as when ranks start, when steps are slow, or after the last epoch, it is said for how long.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from farandole.log import console, on_terminal, say

POLL_SECONDS = 0.5
"""How often new lines of metrics.jsonl are looked for."""
PLAIN_SECONDS = 5.0
"""How far apart plain lines are, which stand for the bar where no terminal shows it."""
SILENT_SECONDS, MAX_SILENT_SECONDS = 10.0, 60.0
"""After how long without a line it is said that there is none; then after twice as long, and so on up to the latter."""
MIN_BAR_COLUMNS = 70
"""On a narrower terminal there are the steps and the time left alone."""
RECENT_LINES = 10
"""From how many of the last lines the time left is reckoned: the first steps, with their graphs, are no measure."""


@contextmanager
def follow(history: Path, total_steps: int, done_steps: int, num_epochs: int) -> Iterator[None]:
    """While the body runs, shows what is appended to `history`, a metrics.jsonl.

    Args:
        history: need not exist yet; a resumed run cuts it back to where it goes on.
        total_steps: of the run.
        done_steps: where the run goes on; lines up to there were shown by the one before.
        num_epochs: of the run.
    """
    stopped = threading.Event()
    follower = _Follower(history, total_steps, done_steps, num_epochs)
    thread = threading.Thread(target=follower.run, args=(stopped,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class _Follower:
    def __init__(self, history: Path, total_steps: int, done_steps: int, num_epochs: int) -> None:
        self._history, self._total, self._num_epochs = history, total_steps, num_epochs
        self._inode, self._offset = self._end() if history.exists() else (0, 0)
        self._shown = (done_steps, True)
        self._last_plain = 0.0
        self._doing, self._figures = "starting ranks", ""
        self._heard, self._patience = time.monotonic(), SILENT_SECONDS
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT_LINES)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def run(self, stopped: threading.Event) -> None:
        if not on_terminal():
            self._until(stopped)
            return
        whole = Column(no_wrap=True)  # where there is little room the bar gets shorter, not the numbers
        columns: tuple[ProgressColumn, ...] = (
            TextColumn("train"), BarColumn(), MofNCompleteColumn(table_column=whole),
            TextColumn("steps, {task.fields[figures]}"), TimeRemainingColumn(table_column=whole.copy()),
        )  # fmt: skip
        if console().width < MIN_BAR_COLUMNS:
            columns = (TextColumn("train"), columns[2], TextColumn("steps"), columns[4])
        with Progress(*columns, console=console()) as self._bar:
            self._task = self._bar.add_task(
                "train", total=self._total, completed=self._shown[0], figures="starting ranks"
            )
            self._until(stopped)

    def _until(self, stopped: threading.Event) -> None:
        while not stopped.wait(POLL_SECONDS):
            self._show(self._new_lines())
            self.tell_silence(time.monotonic())
        self._show(self._new_lines())

    def tell_silence(self, now: float) -> None:
        """For how long the leader has told nothing, at this moment (time.monotonic)."""
        silent = now - self._heard
        if self._bar is not None and self._task is not None:
            if not self._figures or silent >= SILENT_SECONDS:
                self._bar.update(self._task, figures=f"{self._doing}, {silent:.0f} s")
        elif silent >= self._patience:
            self._patience += min(self._patience, MAX_SILENT_SECONDS)
            say(f"train: {self._doing}, {silent:.0f} s")

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
            if line["kind"] == "train":
                self._recent.append((line["step"], line["wall_seconds"]))
            if (line["global_step"], line["kind"] == "val") <= self._shown:
                continue  # shown before the restart
            self._shown = (line["global_step"], line["kind"] == "val")
            self._heard, self._patience = time.monotonic(), SILENT_SECONDS
            self._doing = f"step {line['global_step']} of {self._total} is done"
            if line["global_step"] >= self._total:
                self._doing = "evaluating, and writing the model"
            if line["kind"] == "val":
                say(
                    f"train: epoch {line['epoch'] + 1} of {self._num_epochs} done; val loss {line['loss']:.4f}, "
                    f"accuracy {line['accuracy']:.4f}, balanced accuracy {line['balanced_accuracy']:.4f}"
                )
                continue
            self._figures = f"loss {line['loss']:.4f}, {line['images_per_second']:.0f} images/s"
            if self._bar is not None and self._task is not None:
                epoch = f"epoch {line['epoch'] + 1}/{self._num_epochs}"
                self._bar.update(self._task, completed=line["step"], figures=f"{epoch}, {self._figures}")
            elif time.monotonic() - self._last_plain >= PLAIN_SECONDS:
                self._last_plain = time.monotonic()
                epoch = f"epoch {line['epoch'] + 1} of {self._num_epochs}"
                say(f"train: step {line['step']} of {self._total}, {epoch}, {self._figures}{self._time_left()}")

    def _time_left(self) -> str:
        """By the rate of the last lines; nothing is said after only one."""
        (first, began), (last, ended) = self._recent[0], self._recent[-1]
        if last <= first:
            return ""
        return f", {(self._total - last) * (ended - began) / (last - first):.0f} s left"
