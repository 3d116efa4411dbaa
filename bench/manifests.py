"""Manifests of data sets that preprocess or rebalance never wrote: for tests (pytest has this folder on its path) and
for measurements."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from farandole.core.dataset.manifest import FileEntry, Manifest, SplitEntry, Stats
from farandole.core.dataset.sample import Feature, Sample
from farandole.core.dataset.schema import SPLITS


def file_entry(row_groups: list[int], *, path: str = "data/part-00000.parquet", row_bytes: int = 1) -> FileEntry:
    """Of a file that exists nowhere, with these rows in each row group, and no bytes but those of its rows."""
    num_rows = sum(row_groups)
    return FileEntry(
        path=path,
        num_rows=num_rows,
        num_bytes=num_rows * row_bytes,
        sha256="0" * 64,
        footer_sha256="0" * 64,
        row_groups=row_groups,
    )


def split_entry(class_counts: dict[str, int], files: list[FileEntry] | None = None, *, id_sum: int = 0) -> SplitEntry:
    """Of these files, or else of one file with one row group.

    Args:
        class_counts: rows of each class, in the order of the class names.
        files: they hold as many rows.
        id_sum: what core.fingerprint.id_checksum gives.
    """
    num_rows = sum(class_counts.values())
    if files is None:
        files = [file_entry([num_rows])] if num_rows else []
    return SplitEntry(num_rows=num_rows, class_counts=class_counts, id_checksum=f"{id_sum:016x}", files=files)


def count_labels(labels: np.ndarray, class_names: list[str]) -> dict[str, int]:
    """Rows of each class."""
    return dict(zip(class_names, np.bincount(labels, minlength=len(class_names)).tolist(), strict=True))


def sample_of(
    height: int, width: int, channels: int, *, encoding: str = "raw", class_names: Sequence[str] = ("ant", "bee", "cat")
) -> Sample:
    """Pictures of this size, raw or jpeg, and their labels."""
    image = Feature(dtype="uint8", shape=[height, width, channels], encoding="" if encoding == "raw" else "jpeg")
    return Sample(
        features={"image": image, "label": Feature(dtype="int32")},
        inputs=["image"],
        targets=["label"],
        class_names=list(class_names),
    )


def make_manifest(
    splits: dict[str, SplitEntry],
    *,
    stage: str = "preprocess",
    image_shape: tuple[int, int, int] = (8, 8, 3),
    encoding: str = "raw",
    **fields: Any,
) -> Manifest:
    """A manifest that adds up.

    Args:
        splits: of those that are missing, the rows are none.
        stage: preprocess or rebalance.
        image_shape: height, width, channels.
        encoding: raw or jpeg.
        fields: of Manifest, in place of those that are made here.
    """
    channels = image_shape[2]
    class_names = list(splits["train"].class_counts)
    none = split_entry(dict.fromkeys(class_names, 0))
    dropped = sum(fields.get("quarantine", {}).values()) + fields.get("deduplicated_rows", 0)
    made: dict[str, Any] = {
        "created_by": "make_manifest",
        "config_fingerprint": "c",
        "parent_fingerprint": "p",
        "sample": sample_of(*image_shape, encoding=encoding, class_names=class_names),
        "splits": {split: splits.get(split, none) for split in SPLITS},
        "stats": {"image": Stats(mean=[0.0] * channels, std=[1.0] * channels)},
        "quarantine": {},
        "input_rows": sum(entry.num_rows for entry in splits.values()) + dropped,
        "deduplicated_rows": 0,
    }
    return Manifest(stage=stage, **(made | fields))
