"""Whose numbers were not finite: every rank sees it in the sums, and one of them, or several, brought it there.

Nothing is kept for this during the training: a step whose sums are not finite has changed no weight, so each rank
computes its own part of it once more, alone, and tells the others what it found.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.rank_spec import World
from farandole.errors import DataError, OtherRankError
from farandole.train.horovod.distributed import gather_integers
from farandole.train.run.checkpoint import Position
from farandole.train.step import TrainStep

_NOBODY = (
    "no rank finds it in its own rows, computed alone: it came with the sum over ranks (of float16, if "
    "train.gradient_compression says so), or with the statistics of the batch in batch norm"
)


@dataclass(frozen=True)
class Where:
    """What a message about numbers that are not finite says besides what was found."""

    position: Position
    learning_rate: float
    """The learning rate that the config names, before warm-up and schedule."""

    def describe(self, found: str) -> str:
        at = self.position
        return (
            f"NaN or Inf at epoch {at.epoch}, step {at.step} (step {at.global_step} of the run): {found}; all ranks "
            f"stopped there, and the newest checkpoint is from before it; lower train.learning_rate, "
            f"{self.learning_rate} now, or set train.clip_norm"
        )


def blame(step: TrainStep, batch: Batch, files: SplitFiles, world: World, where: Where) -> DataError:
    """The error of this rank after a step whose sums are not finite; all ranks call this together.

    Args:
        step: holds the weights from before the step, which applied nothing.
        batch: this rank's rows of it.
        files: which the rows are from.
        world: this rank's place.
        where: the training stands.
    """
    own = _own_fault(step, batch, files)
    faulty = np.flatnonzero(gather_integers(np.array([bool(own)], np.int64), "blame")).tolist()
    if not faulty:
        return DataError(where.describe(_NOBODY))
    if not own:
        return OtherRankError(where.describe(f"from {_ranks(faulty, world)}"))
    return DataError(where.describe(own if len(faulty) == 1 else f"{own} (one of {_ranks(faulty, world)})"))


def _own_fault(step: TrainStep, batch: Batch, files: SplitFiles) -> str:
    """Empty when the losses and the gradient of this rank's rows are finite."""
    if not len(batch):
        return ""
    losses, gradient_is_finite = step.alone(batch.values)
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = _name(files, int(batch.rows[wrong[0]]))
        return f"the loss of {len(wrong)} of {len(losses)} rows, the first in {first}, is {losses[wrong[0]]}"
    if gradient_is_finite:
        return ""
    names = sorted({_name(files, int(row)) for row in batch.rows})
    more = f" and {len(names) - 3} more row groups" if len(names) > 3 else ""
    return (
        f"the losses of {len(losses)} rows are finite, their gradient is not; they are in {'; '.join(names[:3])}{more}"
    )


def _ranks(ranks: list[int], world: World) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {world.world_size}"


def _name(files: SplitFiles, row: int) -> str:
    """File and row group of a row of the split."""
    return Path(files.name(files.group_of(row))).name
