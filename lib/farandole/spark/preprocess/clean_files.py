"""The last tasks of preprocess: one range of id hashes -> data/split=*/part-N. Arrow only, no Spark; idempotent."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from farandole.config.data import Image
from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import write_rows
from farandole.core.dataset.sample import Feature, Sample
from farandole.core.dataset.schema import CLEAN, SPLITS, clean_schema
from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.plan.layout import split_evenly
from farandole.spark.preprocess.originals import write_originals
from farandole.spark.preprocess.place_parts import placed_path, placed_schema
from farandole.spark.preprocess.staged_images import FIELDS, StagedImages
from farandole.spark.source.records import Source
from farandole.spark.source.table.rows import SIDE
from farandole.spark.spill import read_spill


@dataclass(frozen=True)
class CleanFile:
    """One file of one split."""

    entry: FileEntry
    id_checksum: int


def sample_of(rules: Image, inputs: list[str], class_names: list[str]) -> Sample:
    """What a manifest says of the pictures that `rules` make, of the kept columns among the inputs, and of classes."""
    return Sample(
        features={
            "image": Feature(
                dtype="uint8",
                shape=[rules.height, rules.width, rules.channels],
                encoding="jpeg" if rules.encoding == "jpeg" else "",
            ),
            "label": Feature(dtype="int32"),
            **{name: Feature(dtype="float32") for name in inputs[1:]},
        },
        inputs=inputs,
        targets=["label"],
        class_names=class_names,
    )


def write_files(
    sample: Sample,
    max_rows: int,
    source: Source,
    labels: np.ndarray,
    images: StagedImages,
    directory: Path,
    num_groups: int,
    number: int,
) -> dict[str, CleanFile]:
    """Writes the rows whose id hashes lie in range `number`, for each split that has any, in the order of these hashes.

    So a row's place does not depend on the files that the records came in. Images are copied for one row group at a
    time.

    Args:
        sample: what a row holds.
        max_rows: of a row group.
        source: of the records; its class_names are those of `labels`' values.
        labels: int32 [num_classes of source], what a staged label becomes.
        images: of directory/staging.
        directory: the data set; directory/staging holds what `place_parts` left.
        num_groups: how many spill files these are.
        number: of the range, below source.num_files.
    """
    schema, staging = placed_schema(source), directory / "staging"
    batches = [
        batch
        for group in range(num_groups)
        for batch in read_spill(placed_path(staging, group), schema, number, source.num_files)
    ]
    rows = pa.Table.from_batches(batches, schema).sort_by([("key", "ascending"), ("id", "ascending")])
    rows = rows.set_column(
        rows.schema.get_field_index("label"), schema.field("label"), [labels[rows["label"].to_numpy()]]
    )
    stored, files = clean_schema(source.side_columns), {}
    for index, split in enumerate(SPLITS):
        mine = rows.filter(pa.array(rows["split"].to_numpy() == index)).combine_chunks()
        if mine.num_rows:
            tables = _row_groups(mine, images, stored, max_rows)
            path = f"data/split={split}/part-{number:05d}.parquet"
            entry = write_rows(directory, path, stored, tables, sample)
            files[split] = CleanFile(entry, id_checksum(hash_ids(mine["id"]), 0))
    write_originals(directory, number, rows)
    return files


def _row_groups(rows: pa.Table, images: StagedImages, schema: pa.Schema, max_rows: int) -> Iterator[pa.Table]:
    files, starts, sizes = (rows[field.name].to_numpy() for field in FIELDS)
    small = [name for name in schema.names if name != "image"]
    stored = pa.table({name: rows[name if name in CLEAN.names else f"{SIDE}{name}"] for name in small})
    start = 0
    for num_rows in split_evenly(rows.num_rows, max_rows):
        own = slice(start, start + num_rows)
        taken = pa.chunked_array([images.take(files[own], starts[own], sizes[own])])
        yield stored.slice(start, num_rows).append_column("image", taken).select(schema.names)
        start += num_rows
