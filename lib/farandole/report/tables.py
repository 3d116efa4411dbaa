"""What the report's tables say: plain rows from metrics, manifest and receipts, with the sums checked once more."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.core.dataset.manifest import Manifest

NUM_CONFUSIONS = 10
"""How many of the commonest confusions are listed."""


@dataclass(frozen=True)
class Account:
    """Where the input went, and whether the sum is right."""

    rows: list[tuple[str, int]]
    """The places where input rows ended, and how many in each."""
    input_rows: int
    difference: int
    """The number of input rows minus the sum of `rows`: 0, or something was lost."""


@dataclass(frozen=True)
class EpochAccount:
    """One receipt, held against the manifest."""

    epoch: int
    """From 1, as people count."""
    planned: int
    trained: int
    checksum: str
    verdict: str
    """Empty when every row was trained once; otherwise what is different."""
    whole: bool
    """Whether the plan was the whole train split; a run that is cut short plans less in its last epoch."""


@dataclass(frozen=True)
class ClassCount:
    """Rows of one class in the train split."""

    name: str
    before: int | None
    """How many rows it had before balancing; None when the manifest does not say."""
    after: int
    per_epoch: float | None
    """How many of its rows were trained per epoch, by the receipts; None without receipts."""
    weight: float
    """What each of its rows weighs in the loss."""
    share: float | None
    """Its share of the sum over all trained rows of their weights; None without receipts."""

    @property
    def exposure(self) -> float | None:
        return None if self.per_epoch is None else self.per_epoch * self.weight


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Which share of the true class this is."""


def account_input(manifest: Manifest) -> Account:
    """Every input record in its one place: kept by split (before balancing), quarantined by reason, deduplicated."""
    kept = {name: split.num_rows for name, split in manifest.splits.items()}
    if manifest.class_counts_before:
        kept["train"] = sum(manifest.class_counts_before.values())
    rows = [(f"kept for {name}", count) for name, count in kept.items()]
    by_count = sorted(manifest.quarantine.items(), key=lambda item: (-item[1], item[0]))
    rows += [(f"quarantined: {reason.replace('_', ' ')}", count) for reason, count in by_count if count]
    rows.append(("deduplicated", manifest.deduplicated_rows))
    return Account(rows, manifest.input_rows, manifest.input_rows - sum(count for _, count in rows))


def account_epochs(receipts: Sequence[dict[str, Any]], manifest: Manifest) -> list[EpochAccount]:
    """Planned against trained for each epoch, and the checksum of the ids against the manifest's; bad epochs first."""
    accounts = [_account_epoch(receipt, manifest) for receipt in receipts]
    return sorted(accounts, key=lambda account: not account.verdict)


def _account_epoch(receipt: dict[str, Any], manifest: Manifest) -> EpochAccount:
    train = manifest.splits["train"]
    planned, trained, checksum = receipt["rows_planned"], receipt["rows_trained"], receipt["id_checksum"]
    whole = planned == train.num_rows
    in_classes = sum(receipt["per_class"].values())
    if planned != trained:
        verdict = f"{abs(planned - trained):,} rows {'lost' if trained < planned else 'too many'}"
    elif in_classes != trained:
        verdict = f"classes add up to {in_classes:,}"
    elif whole and checksum != train.id_checksum:
        verdict = "other rows than in the manifest"
    else:
        verdict = ""
    return EpochAccount(receipt["epoch"] + 1, planned, trained, checksum, verdict, whole)


def class_counts(manifest: Manifest, receipts: Sequence[dict[str, Any]]) -> list[ClassCount]:
    """Rows of each class before and after balancing and as trained, largest class first."""
    names, before, weights = manifest.class_names, manifest.class_counts_before, manifest.class_weights
    per_epoch: dict[str, float] = {}
    if receipts:
        per_epoch = {
            name: sum(receipt["per_class"].get(name, 0) for receipt in receipts) / len(receipts) for name in names
        }
    total = sum(rows * weights.get(name, 1.0) for name, rows in per_epoch.items())
    counts = [
        ClassCount(
            name=name,
            before=before.get(name, 0) if before else None,
            after=manifest.splits["train"].class_counts[name],
            per_epoch=per_epoch.get(name),
            weight=weights.get(name, 1.0),
            share=per_epoch[name] * weights.get(name, 1.0) / total if total else None,
        )
        for name in names
    ]
    return sorted(counts, key=lambda count: -(count.before if count.before is not None else count.after))


def classes_by_f1(per_class: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Classes and their figures, the worst F1 first; classes without images, whose F1 means nothing, last."""
    return sorted(per_class.items(), key=lambda item: (not item[1]["support"], _or_zero(item[1]["f1"])))


def _or_zero(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def top_confusions(confusion: np.ndarray, names: Sequence[str], limit: int = NUM_CONFUSIONS) -> list[Confusion]:
    """The pairs of classes that are most often taken for each other, by count.

    Args:
        confusion: int [C, C], confusion[true, predicted].
        names: C class names.
        limit: how many pairs at most.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    totals = confusion.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    return [Confusion(names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / totals[i])) for i, j in pairs]


def wilson_interval(accuracy: float, num_rows: int) -> tuple[float, float]:
    """95 % confidence interval of an accuracy measured on num_rows images (Wilson 1927); (0, 1) without images."""
    if num_rows == 0:
        return 0.0, 1.0
    z = 1.959964
    centre = (accuracy + z * z / (2 * num_rows)) / (1 + z * z / num_rows)
    half = z / (1 + z * z / num_rows) * math.sqrt(accuracy * (1 - accuracy) / num_rows + z * z / (4 * num_rows**2))
    return max(0.0, centre - half), min(1.0, centre + half)
