"""Where training batches come from: Arrow in the plan's order, or petastorm in its own, both under one accounting."""

from collections.abc import Iterator

from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.batches.slice_reader import read_slice
from farandole.core.plan.epoch_plan import Slice
from farandole.train.input.petastorm_reader import read_with_petastorm


def open_reader(name: str, files: SplitFiles, rank_slice: Slice, *, start_step: int) -> Iterator[Batch]:
    """This rank's batches from start_step to the end of the epoch, read by "arrow" or "petastorm"."""
    if name == "petastorm":
        return read_with_petastorm(files, rank_slice, start_step=start_step)
    return read_slice(files, rank_slice, start_step=start_step)
