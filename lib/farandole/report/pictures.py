"""The pictures of a report: what the model was wrong about, what it was trained on, and what was rejected."""

from collections.abc import Callable, Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from farandole.config.data import Image as ImageRules
from farandole.core.batches.reader import Batch, SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.parquet import open_unlisted
from farandole.core.record.preview import preview, preview_rules
from farandole.core.record.quality import RejectedError
from farandole.report.contents import RejectedImage, TrainImage, WrongImage

NUM_TRAIN_IMAGES = 12
NUM_REJECTED_IMAGES = 12
MAX_QUARANTINE_ROWS = 20_000
"""How many rows of quarantine/ are looked through for records to show."""

Load = Callable[[str], bytes | np.ndarray]
"""From a record's `source` to its file or its pixels; raises RejectedError."""


def wrong_images(chosen: list[dict[str, Any]], manifest: Manifest, data: Path) -> list[WrongImage]:
    """The test images of these rows, each with row, label, predicted and confidence."""
    files = SplitFiles(data, manifest, "test")
    images = []
    for row in chosen:
        sample_id, batch = files.row(row["row"])
        images.append(
            WrongImage(
                image=batch.values["image"][0],
                id=sample_id,
                label=manifest.class_names[row["label"]],
                predicted=manifest.class_names[row["predicted"]],
                confidence=row["confidence"],
            )
        )
    return images


def train_images(augment: Callable[[Batch], Batch], manifest: Manifest, data: Path) -> list[TrainImage]:
    """Images from all over the train split, which is shuffled, so that they are a fair sample.

    Args:
        augment: does to a batch what training does to it in its first epoch.
        manifest: of balanced/.
        data: its directory.
    """
    files, num_rows = SplitFiles(data, manifest, "train"), manifest.splits["train"].num_rows
    images = []
    for number in range(min(NUM_TRAIN_IMAGES, num_rows)):
        sample_id, batch = files.row(number * num_rows // min(NUM_TRAIN_IMAGES, num_rows))
        label = manifest.class_names[int(batch.values["label"][0])]
        images.append(TrainImage(augment(batch).values["image"][0], sample_id, label))
    return images


def rejected_images(clean: Path, load: Load | None, rules: ImageRules) -> list[RejectedImage]:
    """Some of what lies in clean/quarantine, of every reason that occurs.

    Args:
        clean: the directory of clean/.
        load: gets a record by its source; None where that cannot be.
        rules: by which the records were rejected: nothing larger than they allow is decoded.
    """
    by_reason: dict[str, list[dict[str, str]]] = {}
    for row in islice(_quarantined(clean), MAX_QUARANTINE_ROWS):
        same = by_reason.setdefault(row["reason"], [])
        if len(same) < NUM_REJECTED_IMAGES:
            same.append(row)
    in_turn = chain.from_iterable(zip_longest(*(by_reason[reason] for reason in sorted(by_reason))))
    rows = [row for row in in_turn if row is not None][:NUM_REJECTED_IMAGES]
    shown = preview_rules(rules)
    return [
        RejectedImage(_picture(row["source"], load, shown), row["id"], row["reason"], row["detail"]) for row in rows
    ]


def _quarantined(clean: Path) -> Iterator[dict[str, str]]:
    for path in sorted((clean / "quarantine").glob("part-*.parquet")):
        for batch in open_unlisted(path).iter_batches(1024):
            yield from batch.to_pylist()


def _picture(source: str, load: Load | None, rules: ImageRules) -> np.ndarray | None:
    if load is None:
        return None
    try:
        return preview(load(source), rules)
    except (RejectedError, OSError, ValueError):  # a source of digits may be called anything by now
        return None
