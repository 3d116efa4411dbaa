"""The rows that a plan names, step by step: the readers under test go stream by stream."""

import numpy as np

from farandole.core.plan.epoch_plan import Slice


def rows_at(own: Slice, step: int) -> tuple[np.ndarray, np.ndarray]:
    """A rank's rows of one batch: row groups and indices in them, int64 [n] each."""
    plan = own.plan
    positions = [np.empty(0, np.int64)]
    for stream in own.streams:
        first, last = plan.supply(stream, plan.global_batch_size)
        low, high = own.share(stream, plan.batch_rows(step))
        offsets = step * (last - first) + np.arange(low, high, dtype=np.int64)
        for index in np.unique(offsets // plan.window_rows):
            inside = offsets[offsets // plan.window_rows == index] - index * plan.window_rows
            positions.append(plan.window(stream, int(index))[inside])
    return plan.locate(np.concatenate(positions))
