"""Counts every row that is trained, so that an epoch can be compared with its plan: the receipt."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import id_checksum
from farandole.core.plan.epoch_plan import EpochPlan, row_group_sizes
from farandole.errors import DataError


@dataclass
class Accounting:
    """What was trained so far in an epoch: by one rank, or after a sum over ranks by all."""

    per_class: np.ndarray
    """How many rows of each class were trained, int64 [classes]."""
    per_row_group: np.ndarray
    """How many rows of each row group of the train split were trained, int64 [row groups]."""
    checksum: int = 0
    """What core.fingerprint.id_checksum makes of the rows that were trained."""

    @classmethod
    def zero(cls, manifest: Manifest) -> "Accounting":
        num_row_groups = len(row_group_sizes(manifest, "train"))
        return cls(np.zeros(len(manifest.class_names), np.int64), np.zeros(num_row_groups, np.int64))

    def add(self, batch: Batch, files: SplitFiles) -> None:
        """Counts one batch."""
        self.per_class += np.bincount(batch.values[files.sample.classes], minlength=len(self.per_class))
        np.add.at(self.per_row_group, np.searchsorted(files.starts, batch.rows, side="right") - 1, 1)
        self.checksum = (self.checksum + id_checksum(batch.id_hashes, batch.copies)) % 2**64

    def to_array(self) -> np.ndarray:
        """int64 [1 + C + G], for a sum over ranks and for checkpoints."""
        checksum = np.array([self.checksum], np.uint64).view(np.int64)
        return np.concatenate([checksum, self.per_class, self.per_row_group])

    @classmethod
    def from_array(cls, values: np.ndarray, manifest: Manifest) -> "Accounting":
        """The inverse of to_array."""
        num_classes = len(manifest.class_names)
        return cls(
            values[1 : 1 + num_classes].copy(), values[1 + num_classes :].copy(), int(values[:1].view(np.uint64)[0])
        )


def receipt(total: Accounting, plan: EpochPlan, manifest: Manifest) -> dict[str, Any]:
    """The line of receipts.jsonl for one epoch, from the accounting summed over all ranks."""
    return {
        "epoch": plan.epoch,
        "rows_planned": plan.num_rows,
        "rows_trained": int(total.per_row_group.sum()),
        "per_class": dict(zip(manifest.class_names, total.per_class.tolist(), strict=True)),
        "id_checksum": f"{total.checksum:016x}",
    }


def check_receipt(line: dict[str, Any], total: Accounting, manifest: Manifest, files: SplitFiles) -> None:
    """Compares what was trained with what was planned.

    Raises:
        DataError: names the first row group that differs, or, if only labels or ids do, what both sides say.
    """
    planned = row_group_sizes(manifest, "train")
    wrong = np.flatnonzero(planned != total.per_row_group)
    if len(wrong):
        group = int(wrong[0])
        raise DataError(
            f"epoch {line['epoch']}: {line['rows_planned']} rows planned, {line['rows_trained']} trained; "
            f"{files.name(group)}: {planned[group]} planned, {total.per_row_group[group]} trained"
            + (f", and {len(wrong) - 1} more row groups" if len(wrong) > 1 else "")
        )
    class_counts = manifest.splits["train"].class_counts
    if line["per_class"] != class_counts:
        raise DataError(
            f"epoch {line['epoch']}: all {line['rows_planned']} rows were trained, but by class they are "
            f"{line['per_class']}, the manifest says {class_counts}: a file holds other labels than it did"
        )
    expected = manifest.splits["train"].id_checksum
    if line["id_checksum"] != expected:
        raise DataError(
            f"epoch {line['epoch']}: all {line['rows_planned']} rows were trained, but the checksum of their ids is "
            f"{line['id_checksum']}, the manifest says {expected}: a file holds other images than it did"
        )
