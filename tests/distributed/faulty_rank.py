"""A rank that comes to grief on purpose: farandole.train.rank with a fault after a given step.

fault.json in paths.work: {"kind": a key of FAULTS, "step": int, "ranks": [int, ...], "once": path}
Where there is a file "once", the fault has happened in an earlier launch and does not come again.
"""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farandole.config.load import parse_config
from farandole.core.rank_spec import Assignment, World
from farandole.errors import DataError
from farandole.train import rank
from farandole.train.progress import Progress


def plan_fault(work: Path, fault: dict[str, Any] | None) -> None:
    """What is to go wrong in the next launch into this paths.work; None: nothing."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "fault.json").write_text(json.dumps(fault or {"kind": "none", "step": -1, "ranks": []}))


def train(assignment: Assignment, world: World, progress: Progress) -> dict[str, Any]:
    from farandole.train.run.state import State

    fault = json.loads((parse_config(assignment.config).work / "fault.json").read_text())
    once = fault.get("once", "/dev/null/none")
    finish_step = progress.finish_step

    def finish_step_and_fail(step: int, epoch: int) -> None:
        finish_step(step, epoch)
        if step == fault["step"] and world.rank in fault["ranks"] and not Path(once).exists():
            if "once" in fault:
                Path(once).touch()
            FAULTS[fault["kind"]]()

    progress.finish_step = finish_step_and_fail  # type: ignore[method-assign]
    if fault["kind"] == "stuck read" and world.rank in fault["ranks"]:
        _stick_in_a_read()
    if fault["kind"] == "lose" and world.rank in fault["ranks"]:
        _lose_rows()
    if fault["kind"] == "nan" and world.rank in fault["ranks"]:
        restore = State.restore

        def poisoned(self: State) -> None:
            restore(self)
            bias = self.model.trainable_variables[-1]  # of the last layer: a relu after it would turn NaN into 0
            bias.assign(np.full(bias.shape, np.nan))

        State.restore = poisoned  # type: ignore[method-assign]
    return rank.train(assignment, world, progress)


def _lose_rows() -> None:
    """Both readers skip the first row group of the split."""
    from farandole.train.input import readers
    from farandole.train.input.import_petastorm import import_petastorm

    petastorm = import_petastorm()
    read, make = readers.read_slice, petastorm.make_batch_reader

    def lossy_arrow(files: Any, rank_slice: Any, *, start_step: int) -> Iterator[Any]:
        for batch in read(files, rank_slice, start_step=start_step):
            yield batch.take(np.flatnonzero(batch.rows >= files.starts[1]))

    @contextlib.contextmanager
    def lossy_petastorm(*args: Any, **options: Any) -> Iterator[Any]:
        with make(*args, **options) as reader:
            yield (item for item in reader if 0 not in item.row)

    readers.read_slice, petastorm.make_batch_reader = lossy_arrow, lossy_petastorm


def _stick_in_a_read() -> None:
    """As from a dead mount: the third row group never comes."""
    from farandole.core.batches import reader

    read, calls = reader.read_row_group, []

    def stuck(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            threading.Event().wait()
        return read(*arguments)

    reader.read_row_group = stuck


def _raise() -> None:
    raise DataError("the disk was eaten by a goat")


FAULTS: dict[str, Callable[[], Any]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill parent": lambda: (os.kill(os.getppid(), signal.SIGKILL), threading.Event().wait()),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "stop parent": lambda: (os.kill(os.getppid(), signal.SIGSTOP), threading.Event().wait()),
    "raise": _raise,
    "stuck read": lambda: None,
    "nan": lambda: None,
    "lose": lambda: None,
    "none": lambda: None,
}

if __name__ == "__main__":
    rank.TASKS["train"] = train
    rank.main()
