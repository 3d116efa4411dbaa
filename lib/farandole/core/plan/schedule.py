"""The learning rate at a step: a pure function, so that a resumed run continues exactly where it was."""

import math

from farandole.errors import ConfigError

SCHEDULES = ("constant", "linear", "cosine")
"""What train.schedule may be."""


def learning_rate(step: int, *, base_rate: float, schedule: str, num_steps: int, warmup_steps: int) -> float:
    """Learning rate of the optimizer step with this number, counted from 0 over all epochs.

    Rises linearly to base_rate over warmup_steps (Goyal et al. 2017, section 2.2), then stays there ("constant"),
    or falls to zero at num_steps along a line ("linear") or half a cosine ("cosine", Loshchilov & Hutter 2017).

    Raises:
        ConfigError: the schedule is unknown.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"train.schedule must be one of {', '.join(SCHEDULES)}; received {schedule!r}")
    if step < warmup_steps:
        return base_rate * (step + 1) / warmup_steps
    if schedule == "constant":
        return base_rate
    done = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    return base_rate * (1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done)))
