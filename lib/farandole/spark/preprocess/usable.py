"""Which of the splits and classes that the input names have a record that can be used: the others are none."""

from dataclasses import replace

import numpy as np

from farandole.log import say
from farandole.spark.preprocess.decode_parts import Staged
from farandole.spark.preprocess.place_parts import PartCounts
from farandole.spark.preprocess.remarks import warn_of_unused
from farandole.spark.source.records import Source


def with_usable_splits(source: Source, staged: list[Staged]) -> Source:
    """Without the splits of which no record can be used, such as a test/ without labels; they are drawn as if the input
    did not name them."""
    given = source.given & frozenset().union(*(part.splits for part in staged))
    for split in sorted(source.given - given - {"train"}):
        say(f"preprocess: no record that is given as {split} can be used; split.{split}_fraction draws its rows")
    return replace(source, given=given)


def with_used_classes(source: Source, counts: list[PartCounts]) -> tuple[Source, list[PartCounts], np.ndarray]:
    """Without the names of which no row is kept, such as a folder without images; and what becomes of each label, int32
    [number of names]."""
    names = np.array(source.class_names, dtype=object)
    used = np.zeros(len(names), bool)
    for split in (split for part in counts for split in part.splits.values()):
        used |= split.class_counts > 0
    if used.any():  # else there is more to say than this
        warn_of_unused(names[~used])
    narrowed = [
        replace(
            part,
            splits={name: replace(split, class_counts=split.class_counts[used]) for name, split in part.splits.items()},
        )
        for part in counts
    ]
    return replace(source, class_names=names[used].tolist()), narrowed, (np.cumsum(used) - 1).astype(np.int32)
