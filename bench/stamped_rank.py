"""A rank that writes down when it has got how far: farandole.train.rank, with a clock around its parts.

It writes {name: seconds since the epoch} to the file that STAMPS names, for the leader, after its first step.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farandole.train import rank

STAMPS: dict[str, float] = {"rank process runs": time.time()}


def stamp_after(owner: Any, name: str, title: str) -> None:
    """Notes when the first call of owner.name has returned."""
    original = getattr(owner, name)

    def stamped(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        STAMPS.setdefault(title, time.time())
        return result

    setattr(owner, name, stamped)


def _train(assignment: Any, world: Any, progress: Any) -> Any:
    from farandole.core.batches.reader import SplitFiles
    from farandole.train import loop
    from farandole.train.run.state import State

    STAMPS["training code imported"] = time.time()
    stamp_after(loop, "set_up", "model and graphs built")
    stamp_after(State, "restore", "checkpoints looked for")
    stamp_after(SplitFiles, "read", "first row group read and verified")
    finish: Callable[[int, int], None] = progress.finish_step

    def finish_step(step: int, epoch: int) -> None:
        if step == 1:
            STAMPS["first step done"] = time.time()
            if world.is_leader:
                Path(os.environ["STAMPS"]).write_text(json.dumps(STAMPS))
        finish(step, epoch)

    progress.finish_step = finish_step
    enter: Callable[[str], None] = progress.enter

    def entered(phase: str) -> None:
        if phase == "computing":
            STAMPS.setdefault("first batch there", time.time())
        enter(phase)

    progress.enter = entered
    return rank.train(assignment, world, progress)


if __name__ == "__main__":
    stamp_after(rank, "_set_up_tensorflow", "TensorFlow imported")
    stamp_after(rank, "_meet", "ranks have met")
    rank.TASKS["train"] = _train
    rank.main()
