"""What map tasks saw, in a few numbers whatever the number of classes, held against the manifest and the plan."""

from dataclasses import dataclass

import numpy as np

from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.schema import SPLITS
from farandole.core.fingerprint import group_checksum, id_checksum
from farandole.core.plan.rebalance_plan import RebalancePlan
from farandole.errors import DataError


@dataclass(frozen=True)
class Tally:
    """Some rows in three numbers that add up, the checksums modulo 2**64, however many classes there are."""

    num_rows: int
    ids: int
    """fingerprint.id_checksum."""
    groups: int
    """fingerprint.group_checksum."""


@dataclass(frozen=True)
class Moved:
    """What a map task saw."""

    read: Tally
    copied: Tally


def tally_rows(hashes: np.ndarray, copies: np.ndarray, groups: np.ndarray) -> Tally:
    """Of id hashes uint64 [n], copy numbers int32 [n] and groups int64 [n]."""
    return Tally(len(hashes), id_checksum(hashes, copies), group_checksum(np.bincount(groups)))


def check_moved(plan: RebalancePlan, clean: Manifest, moved: list[Moved]) -> None:
    """What was read is what the manifest of clean/ lists, and what was copied is what was planned.

    Args:
        plan: of the rewriting.
        clean: the manifest.
        moved: of every piece.

    Raises:
        DataError: they are not; names the split.
    """
    for index, name in enumerate(SPLITS):
        read = sum_tallies(plan, index, [task.read for task in moved])
        wanted = _planned(plan, plan.counts, index, int(clean.splits[name].id_checksum, 16))
        if read != wanted:
            raise DataError(
                f"{plan.clean}, split {name}: the files hold {_told(read)}, the manifest says {_told(wanted)}; "
                f"run preprocess again"
            )
        copied = sum_tallies(plan, index, [task.copied for task in moved])
        wanted = _planned(plan, plan.targets, index, copied.ids)
        if copied != wanted:
            raise DataError(
                f"balanced split {name}: selected were {_told(copied)}, planned are {_told(wanted)}: "
                f"two rows share a 64-bit key; change balance.seed"
            )


def _planned(plan: RebalancePlan, counts: np.ndarray, split: int, ids: int) -> Tally:
    of_split = np.where(np.arange(len(counts)) // len(plan.sample.class_names) == split, counts, 0)
    return Tally(int(of_split.sum()), ids, group_checksum(of_split))


def _told(tally: Tally) -> str:
    return f"{tally.num_rows} rows of id_checksum {tally.ids:016x} and class checksum {tally.groups:016x}"


def sum_tallies(plan: RebalancePlan, split: int, of_pieces: list[Tally]) -> Tally:
    """Those of the pieces of one split together."""
    own = [tally for piece, tally in zip(plan.pieces, of_pieces, strict=True) if piece.split == split]
    ids, groups = sum(tally.ids for tally in own), sum(tally.groups for tally in own)
    return Tally(sum(tally.num_rows for tally in own), ids % 2**64, groups % 2**64)
