"""Small balanced data sets, written directly: what rebalance would write, without Spark."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from manifests import count_labels, make_manifest, sample_of, split_entry

from farandole.core.dataset.manifest import FILE_NAME, Manifest, SplitEntry, Stats
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.sample import Feature
from farandole.core.dataset.schema import balanced_schema
from farandole.core.fingerprint import hash_ids, id_checksum

CLASS_NAMES = ["ant", "bee", "cat"]
SIDE_COLUMNS = {"heat": "double"}
_SCHEMA = balanced_schema(SIDE_COLUMNS)


def write_balanced(
    root: Path,
    *,
    train: list[list[int]],
    val: int = 0,
    test: int = 0,
    side: int = 8,
    seed: int = 0,
    inputs: tuple[str, ...] = ("image",),
) -> Manifest:
    """Writes root/ with one train file per list of row-group sizes, and returns its manifest.

    Classes are told apart by brightness, so that a model can learn them. A kept column, heat, which can be an input,
    says less of them.
    """
    rng = np.random.default_rng(seed)
    splits = {"train": train, "val": [[val]] if val else [], "test": [[test]] if test else []}
    entries = {split: _write_split(root, split, files, side, rng) for split, files in splits.items()}
    sample = sample_of(side, side, 1, class_names=CLASS_NAMES)
    numbers = {name: Feature(dtype="float32") for name in inputs[1:]}
    manifest = make_manifest(
        entries,
        stage="rebalance",
        sample=sample.model_copy(update={"features": sample.features | numbers, "inputs": [*inputs]}),
        stats={name: Stats(mean=[120.0], std=[60.0]) for name in inputs},
        side_columns=SIDE_COLUMNS,
        class_counts_before=entries["train"].class_counts,
    )
    (root / FILE_NAME).write_text(manifest.to_json())
    return manifest


def _write_split(root: Path, split: str, files: list[list[int]], side: int, rng: np.random.Generator) -> SplitEntry:
    entries, ids, labels = [], [], []
    for number, row_groups in enumerate(files):
        tables = [_table(split, rows, side, rng, ids, labels) for rows in row_groups]
        entries.append(write_file(root, f"data/split={split}/part-{number:05d}.parquet", _SCHEMA, tables))
    counts = count_labels(np.array(labels, np.int64), CLASS_NAMES)
    return split_entry(counts, entries, id_sum=id_checksum(hash_ids(ids), 0))


def _table(split: str, rows: int, side: int, rng: np.random.Generator, ids: list[str], labels: list[int]) -> pa.Table:
    start = len(ids)
    own_labels = rng.integers(0, len(CLASS_NAMES), rows)
    pixels = rng.integers(0, 120, (rows, side, side, 1)) + own_labels[:, None, None, None] * 60
    own_ids = [f"{split}/{start + i:05d}" for i in range(rows)]
    ids += own_ids
    labels += own_labels.tolist()
    return pa.table(
        {
            "id": own_ids,
            "image": [image.astype(np.uint8).tobytes() for image in pixels],
            "label": pa.array(own_labels, pa.int32()),
            "content_hash": pa.array(np.arange(start, start + rows), pa.int64()),
            "heat": own_labels * 40.0 + np.arange(rows) % 50,
            "copy": pa.array(np.zeros(rows), pa.int32()),
            "row": pa.array(np.arange(start, start + rows), pa.int64()),
        },
        schema=_SCHEMA,
    )
