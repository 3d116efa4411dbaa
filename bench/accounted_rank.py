"""farandole.train.rank with a clock around all that guards a run: heartbeats, receipts and checkpoints.

Its result says for each of them, and for all of the training: seconds for which the training thread did that, and CPU
seconds of all threads. What happens inside another part that is counted belongs to that other part.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from farandole.core.rank_spec import Assignment
from farandole.train import rank
from farandole.train.progress import Progress

_inside = threading.local()
_lock = threading.Lock()
_wall: dict[str, float] = {}
_cpu: dict[str, float] = {}


def counted(part: str, owner: Any, name: str) -> None:
    """From now on, owner.name takes its time on the account of this part."""
    function: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **keywords: Any) -> Any:
        if getattr(_inside, "part", None):
            return function(*arguments, **keywords)
        _inside.part, wall, cpu = part, time.perf_counter(), time.thread_time()
        try:
            return function(*arguments, **keywords)
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            _inside.part = None
            with _lock:
                if threading.current_thread() is threading.main_thread():
                    _wall[part] = _wall.get(part, 0.0) + wall
                _cpu[part] = _cpu.get(part, 0.0) + cpu

    setattr(owner, name, timed)


def train(assignment: Assignment, world: Any, progress: Progress) -> dict[str, Any]:
    from farandole.train import loop
    from farandole.train.accounting import Accounting
    from farandole.train.run import checkpoint_writer
    from farandole.train.run.history import History
    from farandole.train.run.state import State

    for name in ("enter", "finish_step", "read"):
        counted("heartbeats", Progress, name)
    counted("receipts", Accounting, "add")
    counted("receipts", State, "sum_accounting")
    counted("receipts", loop, "check_receipt")
    counted("receipts", History, "log_receipt")
    counted("checkpoints", State, "save")
    counted("checkpoints", checkpoint_writer.CheckpointWriter, "_write")
    fit = loop.fit

    def timed_fit(*arguments: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        fit(*arguments)
        _wall["training"], _cpu["training"] = time.perf_counter() - wall, time.process_time() - cpu

    loop.fit = timed_fit
    return {**rank.train(assignment, world, progress), "wall": _wall, "cpu": _cpu}


if __name__ == "__main__":
    counted("heartbeats", rank.Heartbeat, "send")
    rank.TASKS["train"] = train
    rank.main()
