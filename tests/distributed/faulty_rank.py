"""A rank that comes to grief on purpose: farandole.train.rank with a fault after a given step.

spec["fault"] = {"kind": "kill" | "raise" | "stop" | "nan", "step": int, "ranks": [int, ...]}
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from farandole.config import Config
from farandole.errors import DataError
from farandole.train import rank


def train(spec: dict[str, Any], config: Config, world: Any, report: Callable[[dict], None]) -> dict[str, Any]:
    from farandole.train.loop import Trainer

    fault = spec.get("fault", {"kind": "none", "step": -1, "ranks": []})

    def reported(state: dict[str, int]) -> None:
        report(state)
        if state["step"] == fault["step"] and world.rank in fault["ranks"]:
            FAULTS[fault["kind"]]()

    if fault["kind"] == "nan":
        restore = Trainer._restore

        def poisoned(self: Trainer) -> None:
            restore(self)
            bias = self.model.trainable_variables[-1]  # of the last layer: a relu after it would turn NaN into 0
            bias.assign(np.full(bias.shape, np.nan))

        Trainer._restore = poisoned  # type: ignore[method-assign]
    return rank.train(spec, config, world, reported)


def _raise() -> None:
    raise DataError("the disk was eaten by a goat")


FAULTS: dict[str, Callable[[], Any]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "raise": _raise,
    "nan": lambda: None,
    "none": lambda: None,
}

if __name__ == "__main__":
    rank.TASKS["train"] = train
    sys.exit(rank.main())
